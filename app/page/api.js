// Calls of the API: with the key, a limit of time, and errors that say what to do.

import { askForKey, key } from "./key.js";

export const ROOT = new URL("../../", import.meta.url);
const SECONDS = 20;

export class ApiError extends Error {
  constructor(status, code, message, details = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.details = details;
  }

  // Whether it is unknown if the server has done what it was told.
  get isOpen() {
    return this.status === 0 || this.status === 503 || this.status === 504;
  }
}

export function path(...parts) {
  return "v1/" + parts.map((part) => encodeURIComponent(part)).join("/");
}

export function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? "?" + new URLSearchParams(given) : "";
}

// What a form sends with every attempt: however often it is sent, it is done once.
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export async function send(method, where, { body, headers = {}, signal } = {}) {
  const sent = key.value.value;
  const all = { ...headers };
  if (sent) all.authorization = `Bearer ${sent}`;
  if (body !== undefined) all["content-type"] = "application/json";
  let answer;
  try {
    const content = body === undefined ? undefined : JSON.stringify(body);
    answer = await fetch(new URL(where, ROOT), { method, headers: all, body: content, signal, cache: "no-store" });
  } catch (error) {
    throw signal?.aborted ? error : new ApiError(0, "unreachable", "The server cannot be reached.");
  }
  if (answer.ok) return answer;
  const error = await refusal(answer);
  if (answer.status === 401) askForKey(sent, error.message);
  throw error;
}

async function refusal(answer) {
  const found = await answer.json().catch(() => ({}));
  const { code = "failed", message = `The server answered ${answer.status}.`, details } = found.error ?? {};
  return new ApiError(answer.status, code, message, details);
}

export async function call(method, where, { body, headers, seconds = SECONDS, signal } = {}) {
  const late = AbortSignal.timeout(seconds * 1000);
  const either = signal ? AbortSignal.any([signal, late]) : late;
  try {
    return await (await send(method, where, { body, headers, signal: either })).json();
  } catch (error) {
    if (!late.aborted || signal?.aborted) throw error;
    throw new ApiError(0, "no_answer", `The server has not answered within ${seconds} s.`);
  }
}

export const get = (where, options) => call("GET", where, options);
export const post = (where, body, options) => call("POST", where, { ...options, body });
