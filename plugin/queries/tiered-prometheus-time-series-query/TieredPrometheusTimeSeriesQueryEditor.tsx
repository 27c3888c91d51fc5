import { MenuItem, Stack, TextField } from '@mui/material';
import { PromQLEditor } from '@perses-dev/prometheus-plugin/lib/components/PromQLEditor';
import type { PrometheusDatasourceSelector } from '@perses-dev/prometheus-plugin/lib/model/prometheus-selectors';
import { DEFAULT_SCRAPE_INTERVAL } from '@perses-dev/prometheus-plugin/lib/plugins/types';
import type { OptionsEditorProps } from '@perses-dev/plugin-system';
import { useDatasource, useDatasourceClient, useDatasourceSelectValueToSelector } from '@perses-dev/plugin-system';
import type { ReactElement } from 'react';
import { useCallback, useMemo, useState } from 'react';
import { DatasourceField } from '../../components/DatasourceField';
import type { TieredPrometheusClient } from '../../model/client';
import { completeConfig } from '../../model/completion';
import type { TierChoice, TieredPrometheusDatasourceSpec, TieredPrometheusTimeSeriesQuerySpec } from '../../model/spec';
import { DATASOURCE_KIND, DEFAULT_DATASOURCE } from '../../model/spec';
import { minStepMistake } from '../../model/validate';
import { useQueryDraft } from '../../perses';
import { ExplainLine } from './ExplainLine';

/** What can be chosen, and what it means. */
const tierChoices: Readonly<Record<TierChoice, string>> = {
  auto: 'Auto',
  hot: 'Hot',
  cold: 'Cold',
};

/** The editor of a TieredPrometheusTimeSeriesQuery. */
export function TieredPrometheusTimeSeriesQueryEditor(
  props: OptionsEditorProps<TieredPrometheusTimeSeriesQuerySpec>
): ReactElement {
  const { isReadonly } = props;
  const { draft, edit, choose, report } = useQueryDraft(props);
  const { datasource, spec } = useSelectedDatasource(draft.datasource);
  const { data: client } = useDatasourceClient<TieredPrometheusClient>(datasource);
  const url = client?.options.datasourceUrl;
  const queryParams = spec?.queryParams;
  const completion = useMemo(() => completeConfig(url, queryParams), [url, queryParams]);
  const [width, setWidth] = useState<number>();
  const measure = useCallback((element: HTMLElement | null) => {
    setWidth(element?.clientWidth);
  }, []);
  const minStepError = minStepMistake(draft.minStep);
  // Placeholders say what holds where nothing is written.
  const inputLabel = { shrink: true };

  return (
    <Stack spacing={2} sx={{ pt: 1 }} ref={measure} onBlur={report}>
      <DatasourceField
        value={draft.datasource}
        onChange={(next) => {
          choose({ datasource: next });
        }}
        isReadonly={isReadonly}
      />
      <PromQLEditor
        completeConfig={completion}
        // Only passed on: the client that it gets parses queries as that of the Prometheus plugin does.
        datasource={datasource as unknown as PrometheusDatasourceSelector}
        value={draft.query}
        onChange={(query) => {
          edit({ query });
        }}
        // The Tab key leaves the editor, as it leaves every other field.
        indentWithTab={false}
        onCreateEditor={(view) => {
          view.contentDOM.setAttribute('aria-label', 'PromQL Expression');
        }}
        isReadOnly={isReadonly}
      />
      <ExplainLine spec={draft} width={width} />
      <Stack direction={{ xs: 'column', md: 'row' }} spacing={2}>
        <TextField
          fullWidth
          label="Legend"
          placeholder="Example: {{instance}}"
          helperText="Name of a series in the legend and the tooltip. {{label_name}} stands for the value of a label."
          value={draft.seriesNameFormat ?? ''}
          onChange={(event) => {
            edit({ seriesNameFormat: event.target.value });
          }}
          slotProps={{ inputLabel, input: { readOnly: isReadonly } }}
        />
        <TextField
          label="Min Step"
          placeholder={spec?.scrapeInterval ?? DEFAULT_SCRAPE_INTERVAL}
          error={minStepError !== undefined}
          helperText={minStepError ?? 'Smallest step. Left out: the scrape interval of the datasource.'}
          value={draft.minStep ?? ''}
          onChange={(event) => {
            const { value } = event.target;
            edit({ minStep: value === '' ? undefined : (value as TieredPrometheusTimeSeriesQuerySpec['minStep']) });
          }}
          slotProps={{ inputLabel, input: { readOnly: isReadonly } }}
          sx={{ minWidth: { md: 220 } }}
        />
        <TextField
          select
          label="Evaluation"
          helperText="Instant: one value, at the end of the time range."
          value={draft.instant === true ? 'instant' : 'panel'}
          onChange={(event) => {
            choose({ instant: event.target.value === 'instant' ? true : undefined });
          }}
          slotProps={{ inputLabel, select: { readOnly: isReadonly } }}
          sx={{ minWidth: { md: 180 } }}
        >
          <MenuItem value="panel">As the panel asks</MenuItem>
          <MenuItem value="instant">Instant</MenuItem>
        </TextField>
        <TextField
          select
          label="Tier"
          helperText="Auto lets the gateway choose; hot and cold have no fallback."
          value={draft.tier ?? 'auto'}
          onChange={(event) => {
            const tier = event.target.value as TierChoice;
            choose({ tier: tier === 'auto' ? undefined : tier });
          }}
          slotProps={{ inputLabel, select: { readOnly: isReadonly } }}
          sx={{ minWidth: { md: 220 } }}
        >
          {Object.entries(tierChoices).map(([choice, text]) => (
            <MenuItem key={choice} value={choice}>
              {text}
            </MenuItem>
          ))}
        </TextField>
      </Stack>
    </Stack>
  );
}

/** The datasource that a query selects, a variable resolved, and its spec as soon as it is known. */
function useSelectedDatasource(selected: TieredPrometheusTimeSeriesQuerySpec['datasource']) {
  const datasource = useDatasourceSelectValueToSelector(selected ?? DEFAULT_DATASOURCE, DATASOURCE_KIND);
  const { data } = useDatasource(datasource);
  return { datasource, spec: data?.plugin.spec as TieredPrometheusDatasourceSpec | undefined };
}
