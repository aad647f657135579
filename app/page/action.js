// Something that is done once, however often it is sent: each form has an id until it is known whether it was done.

import { newId } from "./api.js";
import { useEffect, useRef, useState } from "./html.js";

// `perform(id, body)` does it; `run(body)` gives what came of it, or undefined where it failed: then `error` says why.
export function useAction(perform) {
  const [state, setState] = useState({ busy: false, error: null });
  const sent = useRef({ id: newId(), text: "", busy: false });
  const isThere = useRef(true);
  useEffect(() => () => (isThere.current = false), []);

  async function run(body) {
    const form = sent.current;
    if (form.busy) return undefined;
    const text = JSON.stringify(body);
    if (text !== form.text) Object.assign(form, { id: newId(), text });
    form.busy = true;
    setState({ busy: true, error: null });
    let done;
    let error = null;
    try {
      done = await perform(form.id, body);
    } catch (raised) {
      error = raised;
    }
    form.busy = false;
    if (!error?.isOpen) form.text = "";
    if (isThere.current) setState({ busy: false, error });
    return done;
  }

  return { ...state, run, forget: () => setState({ busy: false, error: null }) };
}
