// Which score of a task says most, and how each is shown.

import { number, percent, sentence, words } from "./format.js";

const SHARES = new Set([
  ...["accuracy", "balanced_accuracy", "subset_accuracy", "hamming_loss", "coverage", "micro_f1", "macro_f1", "recall"],
  ...["precision", "f1", "auc", "calibration_error"],
]);
const NAMES = {
  mae: "MAE",
  rmse: "RMSE",
  r2: "R²",
  auc: "AUC",
  normalized_mae: "Normalized MAE",
  micro_f1: "Micro F1",
  macro_f1: "Macro F1",
  kappa: "Cohen's κ",
};
const LOWER_IS_BETTER = new Set(["mae", "rmse", "normalized_mae", "hamming_loss", "log_loss", "calibration_error", "loss"]);

export const isShare = (name) => SHARES.has(name);
export const isBetterLow = (name) => LOWER_IS_BETTER.has(name);
export const scoreName = (name) => NAMES[name] ?? sentence(words(name));
export const shown = (name, value) => (isShare(name) ? percent(value) : number(value));

export function mainScore(spec) {
  if (spec.task === "classification") return "accuracy";
  if (spec.task === "multilabel") return "subset_accuracy";
  return spec.outputs && spec.outputs !== 1 ? "normalized_mae" : "mae";
}

const ORDER = [
  ...["accuracy", "subset_accuracy", "normalized_mae", "mae", "balanced_accuracy", "hamming_loss", "rmse", "micro_f1"],
  ...["macro_f1", "kappa", "log_loss", "calibration_error", "r2", "bias", "coverage", "width", "pinball_loss"],
];

// The scores of an answer that are there, the most telling first.
export const scoresIn = (found) => ORDER.filter((name) => Number.isFinite(found?.[name]));

// What the gate compared, as `[name, text]`: of each set of labels the error before and after on so many of them.
export function comparisons(scores) {
  const sets = new Map();
  const rest = [];
  for (const [name, value] of Object.entries(scores)) {
    const [, set, what] = /^(.+?)_(rows|error|other_error)$/.exec(name) ?? [];
    if (set) sets.set(set, { ...sets.get(set), [what]: value });
    else rest.push([scoreName(name), number(value)]);
  }
  const told = [...sets].map(([set, { rows, error, other_error: other }]) => {
    const change = other === undefined ? number(error) : `${number(error)} → ${number(other)}`;
    return [set, rows === undefined ? `error ${change}` : `error ${change} on ${number(rows)}`];
  });
  return [...told, ...rest];
}
