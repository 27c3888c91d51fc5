import { cleanup, configure } from '@testing-library/react';
import { afterEach, vi } from 'vitest';

// What is not found is told without the page around it, which is long. Whether an element is visible is not asked: jsdom
// takes a second for it in a form of our size.
configure({
  defaultHidden: true,
  asyncUtilTimeout: 10_000,
  getElementError: (message) => new Error(message ?? 'not found'),
});

afterEach(() => {
  cleanup();
});

// CodeMirror measures text, which jsdom does not lay out.
Range.prototype.getClientRects = () => [] as unknown as DOMRectList;
Range.prototype.getBoundingClientRect = () => new DOMRect();

// user-event finds the radio buttons of a group by a selector; jsdom has nothing to write one with.
vi.stubGlobal('CSS', { escape: (text: string) => text.replace(/[^\w-]/g, '\\$&') });

// Nothing has a size in jsdom, so nothing changes it.
globalThis.ResizeObserver = class {
  observe(): void {}
  unobserve(): void {}
  disconnect(): void {}
};
