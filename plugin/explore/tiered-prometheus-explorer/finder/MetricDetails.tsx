import { Button, Stack, Typography } from '@mui/material';
import { MetricOverview } from '@perses-dev/prometheus-plugin/lib/explore/PrometheusMetricsFinder/overview/MetricOverview';
import type { LabelFilter, Settings } from '@perses-dev/prometheus-plugin/lib/explore/PrometheusMetricsFinder/types';
import { useMetricMetadata } from '@perses-dev/prometheus-plugin/lib/explore/PrometheusMetricsFinder/utils';
import ChartLine from 'mdi-material-ui/ChartLine';
import Table from 'mdi-material-ui/Table';
import type { ReactElement } from 'react';
import { useMemo } from 'react';
import type { TieredPrometheusDatasourceSelector } from '../../../model/spec';
import { queryOf } from '../explorer-state';
import { QueryResult } from '../QueryResult';
import { complete, expressionOf } from './expression';

interface MetricDetailsProps {
  metric: string;
  datasource: TieredPrometheusDatasourceSelector;
  filters: LabelFilter[];
  onFiltersChange: (filters: LabelFilter[]) => void;
  settings: Settings;
  /** Asks a query in a tab of the explorer. */
  onQuery: (tab: 'table' | 'graph', query: string) => void;
}

/** What is known of a metric: how it is queried, its graph if the settings say so, and its labels and relatives. */
export function MetricDetails(props: MetricDetailsProps): ReactElement {
  const { metric, datasource, filters, onFiltersChange, settings, onQuery } = props;
  const { metadata, isLoading } = useMetricMetadata(metric, datasource);
  const conditions = useMemo(() => complete(filters), [filters]);
  const expression = expressionOf(metric, metadata?.type, conditions);
  const queries = useMemo(() => [queryOf(expression, datasource)], [expression, datasource]);
  return (
    <Stack gap={1} sx={{ width: '100%' }}>
      <Stack direction="row" flexWrap="wrap" alignItems="center" gap={1}>
        <Typography sx={{ fontFamily: 'monospace', overflowWrap: 'anywhere' }}>{expression}</Typography>
        <Button
          startIcon={<ChartLine />}
          onClick={() => {
            onQuery('graph', expression);
          }}
        >
          Query in graph
        </Button>
        <Button
          startIcon={<Table />}
          onClick={() => {
            onQuery('table', expression);
          }}
        >
          Query in table
        </Button>
      </Stack>
      {/* What the metadata says changes the query, so that it waits for it. */}
      {settings.isPanelEnabled && !isLoading && <QueryResult queries={queries} view="graph" height={250} />}
      <MetricOverview
        metricName={metric}
        datasource={datasource}
        filters={conditions}
        onFiltersChange={onFiltersChange}
        isMetadataEnabled={settings.isMetadataEnabled}
        isPanelEnabled={false} // it asks queries of the Prometheus plugin's kind
      />
    </Stack>
  );
}
