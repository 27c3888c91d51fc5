// What Perses tells a plugin in another way in each of the releases that one bundle runs in, 0.52 to 0.54, and what it
// tells outside of the props of an editor. Nothing else in this module asks for the release.

import type { Definition, QueryDefinition, UnknownSpec } from '@perses-dev/core';
import type { OptionsEditorProps } from '@perses-dev/plugin-system';
import * as pluginSystem from '@perses-dev/plugin-system';
import { useEffect, useRef, useState } from 'react';
import { useFormContext } from 'react-hook-form';
import type { Place } from './model/check';

/** The spec of a query while it is edited. */
export interface QueryDraft<Spec> {
  /** The spec with what was typed so far. */
  draft: Spec;
  /** Takes what was typed into the draft; the panel shows it once it is reported. */
  edit: (changes: Partial<Spec>) => void;
  /** Takes a choice into the draft and reports it at once. */
  choose: (changes: Partial<Spec>) => void;
  /** Reports the draft where nothing else does; for when the focus leaves a field. */
  report: () => void;
}

/**
 * Keeps what is typed into the editor of a query, so that the query does not run at every key.
 *
 * The button "Run Query" of Perses 0.52 takes what was typed from queryHandlerSettings. Later releases have no such
 * settings: their button runs what was reported, so the draft is reported when the focus leaves a field.
 */
export function useQueryDraft<Spec extends object>({
  value,
  onChange,
  isReadonly,
  queryHandlerSettings,
}: OptionsEditorProps<Spec>): QueryDraft<Spec> {
  const [draft, setDraft] = useState(value);
  const [reported, setReported] = useState(value);
  if (value !== reported) {
    // What changed outside wins; what was typed into the other fields stays.
    setDraft({ ...draft, ...changesBetween(reported, value) });
    setReported(value);
  }
  // The PromQL editor may call back with functions of an earlier rendering.
  const latest = useRef(draft);
  latest.current = draft;

  const tell = (next: Spec): void => {
    // The type wants a text. A query without one must not get an empty one, which Perses would save.
    queryHandlerSettings?.watchQueryChanges((next as { query?: string }).query as string);
    queryHandlerSettings?.setWatchOtherSpecs({ ...next } as UnknownSpec);
  };
  // Perses 0.52 keeps what was typed for the kind of query before, and would add it to this one.
  useEffect(() => {
    tell(latest.current);
  }, []);

  const take = (changes: Partial<Spec>): void => {
    const next = { ...latest.current, ...changes };
    latest.current = next;
    setDraft(next);
    tell(next);
  };
  return {
    draft,
    edit: take,
    choose: (changes) => {
      take(changes);
      onChange({ ...value, ...changes });
    },
    report: () => {
      const onBlur = queryHandlerSettings?.runWithOnBlur ?? true;
      if (onBlur && isReadonly !== true && Object.keys(changesBetween(value, latest.current)).length > 0) {
        onChange(latest.current);
      }
    },
  };
}

/** Fields of a struct that differ from those of an earlier one. */
function changesBetween<Fields extends object>(before: Fields, after: Fields): Partial<Fields> {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])] as (keyof Fields)[];
  return Object.fromEntries(
    names.filter((name) => before[name] !== after[name]).map((name) => [name, after[name]])
  ) as Partial<Fields>;
}

/** The spec of a variable while it is edited. */
export interface VariableDraft<Spec> {
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
export function useVariableDraft<Spec extends object>({
  value,
  onChange,
  isReadonly,
  queryHandlerSettings,
}: OptionsEditorProps<Spec>): VariableDraft<Spec> {
  const [draft, setDraft] = useState(value);
  useEffect(() => {
    setDraft(value);
  }, [value]);
  // The PromQL editor may call back with functions of an earlier rendering.
  const latest = useRef(draft);
  latest.current = draft;
  return {
    draft,
    edit: (changes) => {
      const next = { ...latest.current, ...changes };
      latest.current = next;
      setDraft(next);
      if (queryHandlerSettings === undefined) {
        onChange(next);
      } else {
        queryHandlerSettings.setWatchOtherSpecs({ ...next });
      }
    },
    report: () => {
      if (latest.current !== value && isReadonly !== true) {
        onChange(latest.current);
      }
    },
  };
}

// No package of the page tells its version: what is in it says which release it is.

/** Whether editors report into a draft, and a button of the page runs it: from 0.53 on. In 0.52 what is reported runs. */
export const reportsAreDrafts: boolean = 'TimeRangeProviderBasic' in pluginSystem;

/** Whether DataQueriesProvider finds out the type of a query by itself: up to 0.53. */
const takesPlugins: boolean = 'useQueryType' in pluginSystem;

/** Returns queries as the definitions that DataQueriesProvider takes: their plugins up to 0.53, themselves from 0.54 on. */
export function dataQueryDefinitions(queries: QueryDefinition[]): Definition<UnknownSpec>[] {
  return takesPlugins
    ? queries.map(({ spec }) => spec.plugin)
    : // The types are those of 0.52.
      (queries as unknown as Definition<UnknownSpec>[]);
}

/**
 * The name that stands in the form around the editor of a datasource, while it is typed. Undefined where the editor is in
 * no form that we know.
 */
export function useDatasourceName(): string | undefined {
  // Without a form there is no context, whatever the type says.
  const form = useFormContext<{ name?: unknown }>() as ReturnType<typeof useFormContext<{ name?: unknown }>> | null;
  const watch = form?.watch;
  const getValues = form?.getValues;
  const [name, setName] = useState<unknown>(() => getValues?.('name'));
  useEffect(() => {
    const subscription = watch?.((values) => {
      setName(values.name);
    });
    // On a slow machine something may be typed between the rendering and this effect.
    setName(getValues?.('name'));
    return () => subscription?.unsubscribe();
  }, [watch, getValues]);
  return typeof name === 'string' && name !== '' ? name : undefined;
}

declare global {
  interface Window {
    /** Set by the web application of Perses from some release on. */
    PERSES_APP_CONFIG?: { api_prefix?: string };
  }
}

/** What the address of a page of Perses says. */
export interface Page {
  /** Path below which Perses serves its API, such as "/perses"; empty at the root. */
  persesUrl: string;
  /** Where a datasource belongs that is edited there. Undefined where the page is none that we know. */
  place?: Place;
}

/**
 * Reads the address of the page: no release tells the editor of a datasource whether it is a global one or of which
 * project.
 */
export function currentPage(): Page {
  const { pathname } = window.location;
  const prefix = window.PERSES_APP_CONFIG?.api_prefix;
  const ofProject = /^(?<before>.*?)\/projects\/(?<project>[^/]+)(\/dashboards\/(?<dashboard>[^/]+))?(\/|$)/.exec(
    pathname
  );
  const ofAdmin = /^(?<before>.*?)\/admin(\/|$)/.exec(pathname);
  const found: Record<string, string | undefined> = (ofProject ?? ofAdmin)?.groups ?? {};
  const decode = (part: string | undefined): string | undefined =>
    part === undefined ? undefined : decodeURIComponent(part);
  return {
    persesUrl: prefix ?? found.before ?? '',
    place:
      ofProject === null && ofAdmin === null
        ? undefined
        : { project: decode(found.project), dashboard: decode(found.dashboard) },
  };
}
