import type { VariableState, VariableStateMap } from '@perses-dev/plugin-system';
import { interpolate, InterpolationFormat } from '@perses-dev/plugin-system';

/** A reference to a variable, as Perses writes it: $name, ${name} or ${name:format}. */
const referencePattern = /\$(?:(\w+)|\{(\w+)(?::(\w+))?\})/g;

/**
 * Where the values of a variable come from. An option is a literal, as a label has it. The text of a text variable and
 * the "custom all value" of a list variable may be PromQL or regular expressions; the latter is part of the dashboard.
 */
type Origin = 'option' | 'text' | 'all';

/** The values that take the place of a reference. */
export interface Insertion {
  name: string;
  /** Format that the reference asks for, such as csv. Undefined: the one of the place. */
  format?: string;
  values: string[];
  /** Whether the variable allows several values, even if it has one. */
  isList: boolean;
  origin: Origin;
  state: State;
}

/** State of a variable; Perses tells the custom all value from 0.54 on. */
type State = VariableState & { customAllValue?: string };

/** The formats of Perses; regexliteral, which Perses has from 0.54 on, is written here. */
const formats = new Set<string>([...Object.values(InterpolationFormat), 'regexliteral']);

/** Replaces the references to variables that have a value and, where they name a format, one that Perses knows. */
export function replaceReferences(
  text: string,
  variables: VariableStateMap,
  write: (insertion: Insertion) => string
): string {
  return text.replace(referencePattern, (reference, plain?: string, braced?: string, asked?: string) => {
    const name = plain ?? braced ?? '';
    const format = asked?.toLowerCase();
    const state = Object.hasOwn(variables, name) ? (variables[name] as State) : undefined;
    if (state?.value === undefined || (format !== undefined && !formats.has(format))) {
      return reference;
    }
    return write({ name, format, ...valuesOf(state), origin: originOf(state), state });
  });
}

function valuesOf({ value }: State): Pick<Insertion, 'values' | 'isList'> {
  return Array.isArray(value)
    ? { values: value, isList: true }
    : { values: value === null ? [] : [value], isList: false };
}

/**
 * Perses before 0.54 does not say that the value is the custom all value; no option has it then. A text variable has no
 * options, like a variable whose panels are repeated for its values, but the state of a definition. Where the options
 * are not known yet, a value can be either, and is taken for text.
 */
function originOf({ value, options, overriding, customAllValue }: State): Origin {
  if (Array.isArray(value)) {
    return 'option';
  }
  if (customAllValue !== undefined) {
    return 'all';
  }
  if (options === undefined) {
    return overriding === undefined ? 'option' : 'text';
  }
  if (options.length === 0) {
    return 'text';
  }
  return options.some((option) => option.value === value) ? 'option' : 'all';
}

/** Writes values as Perses does where they are not part of a string: one as it is, several as (a|b). */
export function formatted({ name, format, values, isList }: Insertion): string {
  if (!isList && values.length === 0) {
    return '';
  }
  const wanted = format ?? (isList ? 'prometheus' : 'raw');
  return interpolate(values, name, wanted as InterpolationFormat);
}

/** Replaces the variables of a text that is no PromQL, such as the name of a series. */
export function replaceInText(text: string, variables: VariableStateMap): string {
  return replaceReferences(text, variables, formatted);
}

/**
 * Replaces the variables of query parameters. A parameter is repeated for each value of a variable without a format, or
 * with the format queryparam: {ns: "${namespace:queryparam}"} becomes ns=a&ns=b. Instead of a custom all value, these
 * are the options that it matches, or all of them.
 */
export function replaceInParameters(
  parameters: Record<string, string>,
  variables: VariableStateMap
): Record<string, string[]> {
  return Object.fromEntries(
    Object.entries(parameters).map(([parameter, template]) => {
      // Each reference multiplies the values so far; what is between two references is added to all of them.
      let values = [''];
      let end = 0;
      const append = (text: string): void => {
        values = values.map((value) => value + text);
      };
      for (const match of template.matchAll(referencePattern)) {
        append(template.slice(end, match.index));
        end = match.index + match[0].length;
        let alternatives = [match[0]];
        replaceReferences(match[0], variables, (insertion) => {
          alternatives = alternativesOf(insertion);
          return '';
        });
        values = values.flatMap((value) => alternatives.map((alternative) => value + alternative));
      }
      append(template.slice(end));
      return [parameter, values];
    })
  );
}

/** Headers that a request has for itself: its session, its body, and its choice of a tier. */
const ownHeaders = new Set(['authorization', 'cookie', 'content-type', 'x-tier-choice']);

/**
 * Returns the headers in whose texts variables have a value, with these values. The others are left out, because Perses
 * sets them itself; so are those that a request has for itself.
 *
 * It throws where a value has characters that no header takes.
 */
export function replaceInHeaders(headers: Record<string, string>, variables: VariableStateMap): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, template]) => {
      const value = replaceInText(template, variables);
      if (value === template || ownHeaders.has(name.toLowerCase())) {
        return [];
      }
      if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) {
        throw new Error(
          `The header ${name} of the datasource is ${JSON.stringify(value)} with its variables, and a header takes no such ` +
            `characters: use \${name:percentencode}, or a query parameter.`
        );
      }
      return [[name, value]];
    })
  );
}

function alternativesOf(insertion: Insertion): string[] {
  const { format, values, origin, state } = insertion;
  if (format !== undefined && format !== 'queryparam') {
    return [formatted(insertion)];
  }
  if (origin !== 'all') {
    return values;
  }
  const options = (state.options ?? []).map(({ value }) => value);
  const matching = options.filter((option) => matchesFully(values[0] ?? '', option));
  return matching.length === 0 ? options : matching;
}

function matchesFully(pattern: string, value: string): boolean {
  try {
    return new RegExp(`^(?:${pattern})$`).test(value);
  } catch {
    return false;
  }
}
