import type { Notice } from '@perses-dev/core';
import type { Answer } from './answer';
import { isWrong, reasonText, tierText } from './answer';

/**
 * Says in one notice what answered a query and why, with all that is to be said of the answer, one line each. One,
 * because the header of a panel shows a single notice. It warns only if something is wrong. Undefined where nothing is
 * known.
 */
export function noticeOf(answer: Answer): Notice | undefined {
  const { reason, warnings, infos } = answer;
  const tiers = tierText(answer);
  const because = reason === undefined ? '' : `: ${reasonInFull(reason)}`;
  const who = tiers === undefined ? [] : [`${tiers} answered${because}`];
  const lines = [...who, ...warnings, ...infos];
  return lines.length === 0 ? undefined : { type: isWrong(answer) ? 'warning' : 'info', message: lines.join('\n') };
}

/** A reason in words and, for looking it up, as it is. */
function reasonInFull(reason: string): string {
  const text = reasonText(reason);
  return text === reason ? reason : `${text} (${reason})`;
}
