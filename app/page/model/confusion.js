// Which class was answered where another was right.

import { percent, short } from "../format.js";
import { html } from "../html.js";
import { Card } from "../ui.js";

// `confusion`: `{classes, counts}`; a row of counts for each class that was right, a column for each that was answered.
export function Confusion({ confusion: { classes, counts } }) {
  return html`<${Card} title="Confusion">
    <p class="note">A row is what was right, a column what was answered; the newest labels.</p>
    <div class="scroll" tabindex="0" role="region" aria-label="Confusion">
      <table class="confusion">
        <caption class="unseen">
          Confusion: a row is what was right, a column what was answered
        </caption>
        <thead>
          <tr>
            <td></td>
            ${classes.map((name) => html`<th scope="col" class="number">${String(name)}</th>`)}
          </tr>
        </thead>
        <tbody>
          ${counts.map((row, right) => html`<${Line} name=${classes[right]} row=${row} right=${right} />`)}
        </tbody>
      </table>
    </div>
  <//>`;
}

function Line({ name, row, right }) {
  const sum = row.reduce((all, count) => all + count, 0) || 1;
  return html`<tr>
    <th scope="row">${String(name)}</th>
    ${row.map(
      (count, answered) =>
        html`<td
          class="number ${count ? (right === answered ? "right" : "wrong") : "none"}"
          style=${{ "--share": (count / sum).toFixed(3) }}
          title=${percent(count / sum)}
        >
          ${count ? short(count) : "·"}
        </td>`,
    )}
  </tr>`;
}
