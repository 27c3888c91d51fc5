import { Alert, AlertTitle, Box, Stack } from '@mui/material';
import type { DurationString } from '@perses-dev/core';
import { DEFAULT_SCRAPE_INTERVAL } from '@perses-dev/prometheus-plugin/lib/plugins/types';
import type { OptionsEditorProps } from '@perses-dev/plugin-system';
import type { ReactElement } from 'react';
import { EntriesField } from '../../components/EntriesField';
import { Section } from '../../components/Section';
import { SpecField } from '../../components/SpecField';
import { parseProxyUrl } from '../../model/proxy-url';
import type { Tier, TieredPrometheusDatasourceSpec } from '../../model/spec';
import { hotTiersOf } from '../../model/spec';
import { findMistakes } from '../../model/validate';
import { currentPage, useDatasourceName } from '../../perses';
import { CheckPanel, HotTierState, useCheck } from './CheckPanel';
import { HOT_PATH, HotTiersFields, pathOfHotTier } from './HotTiersFields';
import { ProxyFields } from './ProxyFields';
import { StrategyFields } from './StrategyFields';
import type { Placing } from './TierFields';
import { placingOf, TierFields } from './TierFields';

/** The editor of a TieredPrometheusDatasource. */
export function TieredPrometheusDatasourceEditor({
  value,
  onChange,
  isReadonly,
}: OptionsEditorProps<TieredPrometheusDatasourceSpec>): ReactElement {
  const name = useDatasourceName();
  const { persesUrl, place } = currentPage();
  const mistakes = findMistakes(value);
  const form = { isReadonly, mistakes: new Map(mistakes.map(({ field, message }) => [field, message])) };
  const change = (changes: Partial<TieredPrometheusDatasourceSpec>): void => {
    onChange({ ...value, ...changes });
  };
  const withoutField = mistakes.filter(({ field }) => !fieldsOf(value).has(field));
  const proxyUrl = parseProxyUrl(value.proxy.spec.url);
  const check = useCheck({ spec: value, name, place: place ?? proxyUrl?.place ?? {}, persesUrl });
  return (
    <Stack spacing={4} sx={{ mt: 2 }}>
      {withoutField.length > 0 && (
        <Alert severity="error">
          <AlertTitle>Perses refuses to save this</AlertTitle>
          <Box component="ul" sx={{ m: 0, pl: 2 }}>
            {withoutField.map(({ field, message }) => (
              <li key={`${field} ${message}`}>
                <code>{field}</code>: {message}
              </li>
            ))}
          </Box>
        </Alert>
      )}
      <ProxyFields
        form={form}
        value={value.proxy}
        onChange={(proxy) => {
          change({ proxy });
        }}
        name={name}
        place={place}
      />
      <Section title="Choice of the tier">
        <Stack direction={{ xs: 'column', sm: 'row' }} spacing={2}>
          <SpecField
            form={form}
            path="spec.threshold"
            label="Threshold"
            placeholder="from the gateway"
            help="A query that reads less than this at once goes to hot, if hot can answer it. Such as 15m."
            value={value.threshold}
            onChange={(threshold) => {
              change({ threshold: threshold as DurationString | undefined });
            }}
          />
          <SpecField
            form={form}
            path="spec.scrapeInterval"
            label="Scrape Interval"
            placeholder={DEFAULT_SCRAPE_INTERVAL}
            help="At which the metrics are scraped: the smallest step of a query. Such as 30s."
            value={value.scrapeInterval}
            onChange={(scrapeInterval) => {
              change({ scrapeInterval: scrapeInterval as DurationString | undefined });
            }}
          />
        </Stack>
        <StrategyFields form={form} value={value} onChange={change} />
      </Section>
      <HotTiersFields
        form={form}
        value={value.hot}
        onChange={(hot) => {
          change({ hot });
        }}
        stateOf={(index) => <HotTierState check={check} tier={hotTiersOf(value)[index]} />}
      />
      <TierFields
        title="Cold tier"
        help="The long-term store with all data, such as Thanos Query."
        path="spec.cold"
        form={form}
        value={value.cold}
        onChange={(cold) => {
          change({ cold });
        }}
        placings={['gateway', 'service', 'url']}
        example="thanos-querier"
        fromGateway="The cold tier that the gateway is configured with or discovers."
        duration={{
          field: 'lag',
          label: 'Lag',
          placeholder: '0s',
          help: 'How far its newest data is behind the present. Such as 2h.',
        }}
      />
      <EntriesField
        label="Query parameters"
        what="parameter"
        help="Sent along with every query, such as dedup."
        value={value.queryParams}
        onChange={(queryParams) => {
          change({ queryParams });
        }}
        isReadonly={isReadonly}
      />
      <CheckPanel
        spec={value}
        check={check}
        hindrance={proxyUrl === undefined ? 'It takes a proxy URL: the gateway there does the check.' : undefined}
      />
    </Stack>
  );
}

/** Paths of the fields that show their mistakes themselves. */
function fieldsOf(spec: TieredPrometheusDatasourceSpec): Set<string> {
  const { hot, cold } = spec;
  const fields: Readonly<Record<Placing, readonly string[]>> = {
    gateway: [],
    service: ['service.namespace', 'service.name', 'service.port', 'service.scheme'],
    url: ['url'],
    name: [],
  };
  const ofTier = (path: string, tier: Tier | undefined, ...others: string[]): string[] =>
    tier === undefined ? [] : [...others, ...fields[placingOf(tier)]].map((field) => `${path}.${field}`);
  return new Set([
    'spec.proxy.spec.url',
    'spec.threshold',
    'spec.scrapeInterval',
    'spec.strategy',
    'spec.splitAcrossReplicas',
    'spec.cache',
    ...hotTiersOf(spec).flatMap((tier, index) =>
      ofTier(Array.isArray(hot) ? pathOfHotTier(index) : HOT_PATH, tier, 'name', 'retention')
    ),
    ...ofTier('spec.cold', cold, 'lag'),
  ]);
}
