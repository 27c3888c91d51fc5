import type { OptionsEditorProps } from '@perses-dev/plugin-system';
import { useEffect, useState } from 'react';

/** A spec while it is edited. */
export interface SpecDraft<Spec> {
  /** The spec with what was typed so far. */
  draft: Spec;
  /** Takes what was typed into the draft. */
  edit: (changes: Partial<Spec>) => void;
  /** Reports the draft; for when the focus leaves the editor. */
  report: () => void;
}

/**
 * Keeps what is typed into the editor of a variable.
 *
 * From Perses 0.53 on every change is reported at once: the form loads the options when its button asks for them. The
 * form of 0.52 loads them on every report, and takes what is not to be loaded yet through queryHandlerSettings. It
 * forgets that when it is saved without its button, so the draft is reported when the focus leaves the editor, too.
 */
export function useSpecDraft<Spec extends object>({
  value,
  onChange,
  isReadonly,
  queryHandlerSettings,
}: OptionsEditorProps<Spec>): SpecDraft<Spec> {
  const [draft, setDraft] = useState(value);
  useEffect(() => {
    setDraft(value);
  }, [value]);
  return {
    draft,
    edit: (changes) => {
      const next = { ...draft, ...changes };
      setDraft(next);
      if (queryHandlerSettings === undefined) {
        onChange(next);
      } else {
        queryHandlerSettings.setWatchOtherSpecs({ ...next });
      }
    },
    report: () => {
      if (draft !== value && isReadonly !== true) {
        onChange(draft);
      }
    },
  };
}
