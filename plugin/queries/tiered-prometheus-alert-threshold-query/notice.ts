import type { Notice } from '@perses-dev/core';
import type { AlertThresholds, AlertThresholdsRequestParameters } from '../../model/alert-thresholds';
import { skippedText } from '../../model/alert-thresholds';

/** The most rules that a notice lists. */
const MAX_LISTED = 10;

interface Outcome {
  /** What the gateway was asked for. */
  requested: AlertThresholdsRequestParameters;
  found: AlertThresholds;
  /** Number of thresholds that are drawn. */
  drawn: number;
  warnings: readonly string[];
}

/**
 * Says in one notice what is not drawn, and every warning, one line each. Undefined if there is nothing to say: Perses
 * shows the last notice of a panel only, and that of the panel's own query is worth more than a word on success.
 */
export function noticeOfThresholds({ requested, found, drawn, warnings }: Outcome): Notice | undefined {
  const { thresholds } = found;
  const left = thresholds.length - drawn;
  const tooMany =
    left > 0
      ? [
          `${String(drawn)} of ${String(thresholds.length)} thresholds are drawn: ` +
            'choose fewer rules by alert name, label or metric',
        ]
      : [];
  const problems = [...new Set(warnings), ...tooMany];
  const lines = [...problems, ...absentLines(requested, found), ...skippedLines(found)];
  return lines.length === 0 ? undefined : { type: problems.length > 0 ? 'warning' : 'info', message: lines.join('\n') };
}

/** Lines on alerts that no rule was found for. */
function absentLines({ alert }: AlertThresholdsRequestParameters, { thresholds, skipped }: AlertThresholds): string[] {
  if (alert === undefined) {
    return thresholds.length + skipped.length === 0 ? ['no alerting rule matches'] : [];
  }
  const found = new Set([...thresholds, ...skipped].map((each) => each.alert));
  return listed(
    alert.filter((name) => !found.has(name)),
    (name) => `no alerting rule matches: ${name}`
  );
}

/** Lines on rules that have no threshold. */
function skippedLines({ thresholds, skipped }: AlertThresholds): string[] {
  return listed(skipped, (rule) => skippedText(rule, thresholds));
}

/** Returns a line for each of the first entries, and one for the number of the others. */
function listed<Entry>(entries: readonly Entry[], lineOf: (entry: Entry) => string): string[] {
  const lines = [...new Set(entries.map(lineOf))];
  const more = lines.length - MAX_LISTED;
  return more > 0 ? [...lines.slice(0, MAX_LISTED), `and ${String(more)} more`] : lines;
}
