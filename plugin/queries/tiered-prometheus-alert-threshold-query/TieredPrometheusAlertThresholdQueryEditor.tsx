import { Stack, TextField } from '@mui/material';
import type { OptionsEditorProps } from '@perses-dev/plugin-system';
import { useDatasource, useDatasourceSelectValueToSelector } from '@perses-dev/plugin-system';
import { DEFAULT_SCRAPE_INTERVAL } from '@perses-dev/prometheus-plugin/lib/plugins/types';
import type { ReactElement } from 'react';
import { DatasourceField } from '../../components/DatasourceField';
import type { TieredPrometheusAlertThresholdQuerySpec } from '../../model/alert-thresholds';
import type { TieredPrometheusDatasourceSpec } from '../../model/spec';
import { DATASOURCE_KIND, DEFAULT_DATASOURCE } from '../../model/spec';
import { matcherMistake, minStepMistake } from '../../model/validate';
import { useQueryDraft } from '../../perses';
import { CompletedField, CompletedList } from './CompletedFields';
import { FoundThresholds } from './FoundThresholds';
import { useRules } from './use-rules';

/** The editor of a TieredPrometheusAlertThresholdQuery. */
export function TieredPrometheusAlertThresholdQueryEditor(
  props: OptionsEditorProps<TieredPrometheusAlertThresholdQuerySpec>
): ReactElement {
  const { isReadonly } = props;
  const { draft, edit, choose, report } = useQueryDraft(props);
  const datasource = useDatasourceSelectValueToSelector(draft.datasource ?? DEFAULT_DATASOURCE, DATASOURCE_KIND);
  const { data } = useDatasource(datasource);
  const scrapeInterval = (data?.plugin.spec as TieredPrometheusDatasourceSpec | undefined)?.scrapeInterval;
  const rules = useRules(draft.datasource);
  const minStepError = minStepMistake(draft.minStep);

  return (
    <Stack spacing={2} sx={{ pt: 1 }} onBlur={report}>
      <DatasourceField
        value={draft.datasource}
        onChange={(next) => {
          choose({ datasource: next });
        }}
        isReadonly={isReadonly}
      />
      <CompletedList
        label="Alerts"
        help="Names of alerting rules. Left out: rules of any name."
        options={rules.alerts}
        value={draft.alerts}
        onChange={(alerts) => {
          choose({ alerts });
        }}
        isReadonly={isReadonly}
      />
      <CompletedList
        label="Label Matchers"
        help={'Such as severity="critical". The labels of a rule match all of them. Left out: any labels.'}
        options={rules.matchers}
        value={draft.matchers}
        mistakeOf={matcherMistake}
        onChange={(matchers) => {
          choose({ matchers });
        }}
        isReadonly={isReadonly}
      />
      <Stack direction={{ xs: 'column', md: 'row' }} spacing={2}>
        <CompletedField
          label="Metric"
          help="Only rules whose expression reads this metric. Left out: any metric."
          options={rules.metrics}
          value={draft.metric}
          onChange={(metric) => {
            edit({ metric });
          }}
          isReadonly={isReadonly}
        />
        <TextField
          label="Min Step"
          placeholder={scrapeInterval ?? DEFAULT_SCRAPE_INTERVAL}
          error={minStepError !== undefined}
          helperText={minStepError ?? 'Smallest step. Left out: the scrape interval of the datasource.'}
          value={draft.minStep ?? ''}
          onChange={(event) => {
            const { value } = event.target;
            edit({ minStep: value === '' ? undefined : (value as TieredPrometheusAlertThresholdQuerySpec['minStep']) });
          }}
          slotProps={{ inputLabel: { shrink: true }, input: { readOnly: isReadonly } }}
          sx={{ minWidth: { md: 220 } }}
        />
      </Stack>
      <FoundThresholds spec={draft} />
    </Stack>
  );
}
