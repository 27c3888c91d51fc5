import { Button, Stack } from '@mui/material';
import {
  MetricNameExplorer,
  SettingsMenu,
} from '@perses-dev/prometheus-plugin/lib/explore/PrometheusMetricsFinder/PrometheusMetricsFinder';
import ArrowLeft from 'mdi-material-ui/ArrowLeft';
import type { ReactElement } from 'react';
import { useMemo } from 'react';
import { DEFAULT_DATASOURCE } from '../../../model/spec';
import type { ExplorerState } from '../explorer-state';
import { queryOf } from '../explorer-state';
import { complete } from './expression';
import { FinderFilters } from './FinderFilters';
import { useFinderSettings } from './finder-settings';
import { MetricDetails } from './MetricDetails';

interface MetricsFinderProps {
  state: ExplorerState;
  onChange: (changes: ExplorerState) => void;
}

/** Lists and searches the metrics of a datasource, and shows one of them in detail. */
export function MetricsFinder({ state, onChange }: MetricsFinderProps): ReactElement {
  const { datasource = DEFAULT_DATASOURCE, filters = noFilters, exploredMetric } = state;
  const [settings, setSettings] = useFinderSettings();
  const conditions = useMemo(() => complete(filters), [filters]);
  return (
    <Stack gap={1}>
      <Stack direction="row" alignItems="center" justifyContent="space-between" gap={1}>
        <FinderFilters
          datasource={datasource}
          onDatasourceChange={(next) => {
            onChange({ datasource: next });
          }}
          filters={filters}
          onFiltersChange={(next) => {
            onChange({ filters: next });
          }}
        />
        {exploredMetric !== undefined && (
          <Button
            startIcon={<ArrowLeft />}
            sx={{ flexShrink: 0 }}
            onClick={() => {
              onChange({ exploredMetric: undefined });
            }}
          >
            All metrics
          </Button>
        )}
        <SettingsMenu value={settings} onChange={setSettings} />
      </Stack>
      {exploredMetric === undefined ? (
        <MetricNameExplorer
          datasource={datasource}
          filters={conditions}
          isMetadataEnabled={settings.isMetadataEnabled}
          width="100%"
        />
      ) : (
        <MetricDetails
          key={exploredMetric}
          metric={exploredMetric}
          datasource={datasource}
          filters={filters}
          onFiltersChange={(next) => {
            onChange({ filters: next });
          }}
          settings={settings}
          onQuery={(tab, query) => {
            onChange({ tab, queries: [queryOf(query, datasource)] });
          }}
        />
      )}
    </Stack>
  );
}

const noFilters: NonNullable<ExplorerState['filters']> = [];
