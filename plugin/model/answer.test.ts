import { describe, expect, it } from 'vitest';
import { answerOf, answerOfError, durationOf, formatDuration, isWrong, reasonText } from './answer';

describe('what is said of an answer', () => {
  it('is empty where nothing is known', () => {
    expect(answerOf({ data: [] })).toEqual({ warnings: [], infos: [] });
    expect(answerOfError(new Error('no network'))).toBeUndefined();
  });

  it.each([
    [null, undefined],
    ['', undefined],
    ['cache;desc="hit"', undefined],
    ['upstream;dur=12', 12],
    ['upstream;dur=12.25;desc="hot", tierproxy; dur=0.75', 13],
  ])('reads the duration of Server-Timing: %s', (timing, expected) => {
    expect(durationOf(timing)).toBe(expected);
  });

  it.each([
    [0.4, '0 ms'],
    [12.4, '12 ms'],
    [999.4, '999 ms'],
    [999.6, '1.0 s'],
    [12_345, '12.3 s'],
  ])('writes a duration for people: %f', (milliseconds, expected) => {
    expect(formatDuration(milliseconds)).toBe(expected);
  });

  it.each([
    ['below-threshold', [], false],
    ['at-or-above-threshold', [], false],
    ['below-threshold', ['a warning'], true],
    ['hot-unavailable', [], true],
    ['cold-unavailable', [], true],
    ['hot-failed', [], true],
    ['cold-failed', [], true],
    ['hot-empty', [], false],
    ['of-the-future', [], false],
    [undefined, [], false],
  ])('knows what is wrong: %s %o', (reason, warnings, expected) => {
    expect(isWrong({ reason, warnings })).toBe(expected);
  });

  it('says what a reason means, and one of the future as it is', () => {
    expect(reasonText('hot-failed')).toBe('hot did not answer');
    expect(reasonText('of-the-future')).toBe('of-the-future');
  });
});
