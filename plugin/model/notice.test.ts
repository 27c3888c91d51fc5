import { describe, expect, it } from 'vitest';
import { noticeOf } from './notice';

describe('the notice of a query', () => {
  it('informs of tier and reason', () => {
    expect(noticeOf({ tier: 'hot', reason: 'below-threshold', warnings: [], infos: [] })).toEqual({
      type: 'info',
      message: 'hot answered: the query reads less than the threshold at once (below-threshold)',
    });
  });

  it('names the source of hot', () => {
    const answer = { source: '{cluster="eu-1"}', reason: 'below-threshold', warnings: [], infos: [] };
    const why = 'the query reads less than the threshold at once (below-threshold)';
    expect(noticeOf({ ...answer, tier: 'hot' })?.message).toBe(`hot {cluster="eu-1"} answered: ${why}`);
    expect(noticeOf({ ...answer, tier: 'hot,cold' })?.message).toBe(`hot {cluster="eu-1"} and cold answered: ${why}`);
    expect(noticeOf({ ...answer, tier: 'hot', source: '{cluster="a"},{cluster="b"}' })?.message).toBe(
      `hot {cluster="a"}, {cluster="b"} answered: ${why}`
    );
  });

  it('holds every warning and remark, one line each', () => {
    expect(noticeOf({ tier: 'cold', reason: 'older-than-hot', warnings: ['one', 'two'], infos: ['three'] })).toEqual({
      type: 'warning',
      message: 'cold answered: the query reads what is older than the data of hot (older-than-hot)\none\ntwo\nthree',
    });
  });

  it('warns where a tier failed, and does not where a tier merely remarks on the query', () => {
    expect(noticeOf({ tier: 'cold', reason: 'hot-failed', warnings: [], infos: [] })?.type).toBe('warning');
    expect(noticeOf({ tier: 'hot', reason: 'only-tier', warnings: [], infos: ['not a counter'] })?.type).toBe('info');
  });

  it('shows what it does not know as it is', () => {
    expect(noticeOf({ tier: 'hot,cold', reason: 'of-the-future', warnings: [], infos: [] })?.message).toBe(
      'hot and cold answered: of-the-future'
    );
    expect(noticeOf({ tier: 'hot', warnings: [], infos: [] })?.message).toBe('hot answered');
  });

  it('is left out where there is nothing to say', () => {
    expect(noticeOf({ warnings: [], infos: [] })).toBeUndefined();
    expect(noticeOf({ warnings: ['from somewhere'], infos: [] })).toEqual({
      type: 'warning',
      message: 'from somewhere',
    });
  });
});
