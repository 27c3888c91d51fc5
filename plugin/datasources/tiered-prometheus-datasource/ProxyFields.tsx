import { Accordion, AccordionDetails, AccordionSummary, Alert, Button, Stack, Typography } from '@mui/material';
import type { HTTPProxy } from '@perses-dev/core';
import ExpandIcon from 'mdi-material-ui/ChevronDown';
import type { ReactElement } from 'react';
import { useLayoutEffect, useRef, useState } from 'react';
import { EntriesField } from '../../components/EntriesField';
import { Section } from '../../components/Section';
import type { FormState } from '../../components/SpecField';
import { SpecField } from '../../components/SpecField';
import type { Place } from '../../model/check';
import { DEFAULT_GATEWAY, parseProxyUrl, suggestProxyUrl } from '../../model/proxy-url';
import { EndpointsField } from './EndpointsField';

interface ProxyFieldsProps {
  form: FormState;
  value: HTTPProxy;
  onChange: (next: HTTPProxy) => void;
  /** Name of the datasource; undefined where the form does not tell it. */
  name?: string;
  /** Where the datasource belongs; undefined where that is not known. */
  place?: Place;
}

/** The fields that say by which way Perses reaches the gateway. */
export function ProxyFields({ form, value, onChange, name, place }: ProxyFieldsProps): ReactElement {
  const { url, secret, headers, allowedEndpoints } = value.spec;
  const [wasSet] = useState(secret !== undefined || headers !== undefined || allowedEndpoints !== undefined);
  const change = (changes: Partial<HTTPProxy['spec']>): void => {
    onChange({ ...value, spec: { ...value.spec, ...changes } });
  };
  const suggestion = name === undefined ? undefined : suggestProxyUrl(url, name, place);
  useFollowedName({ url, name, suggestion, isReadonly: form.isReadonly, change });
  const isOther = suggestion !== undefined && suggestion !== url && parseProxyUrl(url) !== undefined;
  return (
    <Section title="Gateway" help="Perses forwards the queries of this datasource to tierproxy, which asks the tiers.">
      <SpecField
        form={form}
        path="spec.proxy.spec.url"
        label="Proxy URL"
        placeholder={suggestion ?? `${DEFAULT_GATEWAY}/proxy/globaldatasources/NAME`}
        help="Address of tierproxy as Perses reaches it, with the path of this very datasource."
        required
        value={url}
        onChange={(next) => {
          change({ url: next ?? '' });
        }}
      />
      {isOther && (
        <Alert
          severity="warning"
          action={
            form.isReadonly !== true && (
              <Button
                color="inherit"
                size="small"
                sx={{ whiteSpace: 'nowrap' }}
                onClick={() => {
                  change({ url: suggestion });
                }}
              >
                Correct it
              </Button>
            )
          }
        >
          This URL names another datasource than this one, and the gateway would follow that one. It should be{' '}
          <code>{suggestion}</code>
        </Alert>
      )}
      <Accordion variant="outlined" disableGutters defaultExpanded={wasSet}>
        <AccordionSummary expandIcon={<ExpandIcon />}>
          <Typography>Secret, headers and allowed endpoints</Typography>
        </AccordionSummary>
        <AccordionDetails>
          <Stack spacing={3}>
            <SpecField
              form={form}
              path="spec.proxy.spec.secret"
              label="Secret"
              help="Secret of Perses with the credentials for the gateway. Left out: the gateway gets those of the user, with which it asks Perses who that is."
              value={secret}
              onChange={(next) => {
                change({ secret: next });
              }}
            />
            <EntriesField
              label="Headers"
              what="header"
              help="Perses adds them to every request to the gateway."
              value={headers}
              onChange={(next) => {
                change({ headers: next });
              }}
              isReadonly={form.isReadonly}
            />
            <EndpointsField
              value={allowedEndpoints}
              onChange={(next) => {
                change({ allowedEndpoints: next });
              }}
              isReadonly={form.isReadonly}
            />
          </Stack>
        </AccordionDetails>
      </Accordion>
    </Section>
  );
}

interface FollowedName {
  url: string;
  name?: string;
  suggestion?: string;
  isReadonly?: boolean;
  change: (changes: { url: string }) => void;
}

/**
 * Fills in the URL from the name while that is typed, as long as the URL is empty or names what the name was before. What
 * somebody wrote otherwise stays, and one that is emptied by hand stays empty until the name changes.
 */
function useFollowedName(next: FollowedName): void {
  const latest = useRef(next);
  latest.current = next;
  const followed = useRef<string | null>(null);
  // Before the next key: a name that is typed faster than the form renders must not get away.
  useLayoutEffect(() => {
    const { url, name, suggestion, isReadonly, change } = latest.current;
    if (name === undefined || isReadonly === true) {
      return;
    }
    const follows = url === '' || (followed.current !== null && parseProxyUrl(url)?.name === followed.current);
    if (follows && suggestion !== undefined && suggestion !== url) {
      change({ url: suggestion });
    }
    followed.current = name;
  }, [next.name]);
}
