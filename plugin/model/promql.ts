import type { VariableStateMap } from '@perses-dev/plugin-system';
import type { Insertion } from './interpolation';
import { formatted, replaceReferences } from './interpolation';

/** The tokens of PromQL that tell where a string begins, what stands before it, and what is a comment. */
const tokenPattern =
  /#[^\n]*|"(?:\\[^]|[^"\\])*"?|'(?:\\[^]|[^'\\])*'?|`[^`]*`?|\$\{[^}]*\}|\$\w+|[A-Za-z_:][\w:]*|=~|!~|!=|==|\s+|[^]/g;

/** Number of commas before the argument of label_replace that is a regular expression. */
const COMMAS_BEFORE_REGEX = 4;

/**
 * Replaces the variables of a PromQL expression so that their values stay what they are:
 *
 * - In a string, a value is escaped as its quotes require.
 * - In a regular expression, an option is a literal beforehand, and several options are alternatives.
 * - Outside of strings, values are written as they are. Comments stay.
 *
 * A format that the reference names is the text that is inserted, which a string holds exactly; "raw" is inserted without
 * any escape. So is the custom all value, which dashboards write for the place where it is used.
 *
 * It throws where a variable has several values and a matcher takes one.
 */
export function replaceInPromQL(query: string, variables: VariableStateMap): string {
  const open: { call: string; commas: number }[] = [];
  let before = '';
  return query.replace(tokenPattern, (token) => {
    if (/^[\s#]/.test(token)) {
      return token;
    }
    const previous = before;
    before = token;
    const arguments_ = open.at(-1);
    if (/^["'`]/.test(token)) {
      const isRegex =
        previous === '=~' ||
        previous === '!~' ||
        (arguments_?.call === 'label_replace' && arguments_.commas === COMMAS_BEFORE_REGEX);
      return replaceInString(token, variables, (insertion) => contentOf(insertion, isRegex, previous));
    }
    if ('([{'.includes(token)) {
      open.push({ call: previous, commas: 0 });
    } else if (')]}'.includes(token)) {
      open.pop();
    } else if (token === ',' && arguments_ !== undefined) {
      arguments_.commas++;
    }
    return replaceReferences(token, variables, outsideOfStrings);
  });
}

/** Replaces the variables of a string with its quotes. */
function replaceInString(
  literal: string,
  variables: VariableStateMap,
  contentOf: (insertion: Insertion) => string
): string {
  const quote = literal.charAt(0);
  const between: string[] = [];
  const replaced = replaceReferences(literal.slice(1), variables, (insertion) => {
    const written = asWritten(insertion);
    if (written !== undefined) {
      return written;
    }
    const content = contentOf(insertion);
    if (quote !== '`') {
      return escapeString(content, quote);
    }
    between.push(content);
    return content;
  });
  // There are no escapes between backticks: a value that has one needs other quotes.
  const needsQuotes = between.some((content) => content.includes(quote));
  return needsQuotes ? `"${escapeString(replaced.slice(0, -1), '"')}"` : quote + replaced;
}

/** What is inserted without an escape; undefined: nothing. */
function asWritten(insertion: Insertion): string | undefined {
  const { format = 'raw', values, origin } = insertion;
  const isLiteral = format === 'regex' || format === 'regexliteral';
  if (origin === 'all' && (isLiteral || formatted(insertion) === values[0])) {
    return values[0];
  }
  return insertion.format === 'raw' ? formatted(insertion) : undefined;
}

/** What a string holds in place of a reference. */
function contentOf(insertion: Insertion, isRegex: boolean, previous: string): string {
  const { name, format, values, isList, origin } = insertion;
  if (format === 'regexliteral') {
    return alternatives(values.map(escapeRegex));
  }
  if (format !== undefined) {
    return formatted(insertion);
  }
  if (isRegex) {
    const patterns = origin === 'option' ? values.map(escapeRegex) : values;
    return isList ? alternatives(patterns) : patterns.join('');
  }
  if (values.length > 1 && (previous === '=' || previous === '!=')) {
    throw new Error(
      `The variable "${name}" has several values, and ${previous}"$${name}" takes one: ` +
        `write ${previous === '=' ? '=~' : '!~'}"$${name}", or name a format, such as \${${name}:csv}.`
    );
  }
  return values.length > 1 ? formatted(insertion) : values.join('');
}

/** Values where no string is, except that the formats with quotes are strings. */
function outsideOfStrings(insertion: Insertion): string {
  const { format, values } = insertion;
  switch (format) {
    case 'doublequote':
      return formatted({ ...insertion, values: values.map((value) => escapeString(value, '"')) });
    case 'singlequote':
      return formatted({ ...insertion, values: values.map((value) => escapeString(value, "'")) });
    case 'regexliteral':
      return escapeString(alternatives(values.map(escapeRegex)), '"');
    default:
      return formatted(insertion);
  }
}

function alternatives(patterns: string[]): string {
  return `(${patterns.join('|')})`;
}

/** Writes a text as a regular expression (RE2) that matches this text only. */
function escapeRegex(text: string): string {
  return text.replace(/[\\.+*?()|[\]{}^$]/g, '\\$&');
}

/** Writes a text as the content of a string between quotes, " or '. */
function escapeString(text: string, quote: string): string {
  return text
    .replace(/[\\"']/g, (character) => (character === '\\' || character === quote ? `\\${character}` : character))
    .replace(/\n/g, '\\n')
    .replace(/\r/g, '\\r');
}
