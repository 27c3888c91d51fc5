import { expect, it } from 'vitest';
import { readSettings } from './finder-settings';

it.each([
  ['nothing yet', null, { isMetadataEnabled: true, isPanelEnabled: false }],
  ['some', '{"isPanelEnabled":true}', { isMetadataEnabled: true, isPanelEnabled: true }],
  ['all', '{"isMetadataEnabled":false,"isPanelEnabled":true}', { isMetadataEnabled: false, isPanelEnabled: true }],
  ['no JSON', '{', { isMetadataEnabled: true, isPanelEnabled: false }],
  ['null', 'null', { isMetadataEnabled: true, isPanelEnabled: false }],
  ['a text', '"x"', { isMetadataEnabled: true, isPanelEnabled: false }],
])('settings that were stored before are taken as far as they are some: %s', (_, stored, settings) => {
  expect(readSettings(stored)).toEqual(settings);
});
