import { Box, Button, Stack } from '@mui/material';
import type { LabelFilter } from '@perses-dev/prometheus-plugin/lib/explore/PrometheusMetricsFinder/types';
import { LabelFilterInput } from '@perses-dev/prometheus-plugin/lib/explore/PrometheusMetricsFinder/filter/FilterInputs';
import { isVariableDatasource } from '@perses-dev/plugin-system';
import Plus from 'mdi-material-ui/Plus';
import type { ReactElement } from 'react';
import { DatasourceField } from '../../../components/DatasourceField';
import type { TieredPrometheusDatasourceSelector } from '../../../model/spec';
import { DEFAULT_DATASOURCE } from '../../../model/spec';
import { complete } from './expression';

interface FinderFiltersProps {
  datasource: TieredPrometheusDatasourceSelector;
  onDatasourceChange: (datasource: TieredPrometheusDatasourceSelector) => void;
  filters: LabelFilter[];
  onFiltersChange: (filters: LabelFilter[]) => void;
}

/** What the finder looks through: the datasource, and filters on labels. */
export function FinderFilters(props: FinderFiltersProps): ReactElement {
  const { datasource, onDatasourceChange, filters, onFiltersChange } = props;
  return (
    <Stack direction="row" alignItems="center" flexWrap="wrap" gap={1} sx={{ flexGrow: 1 }}>
      <Box sx={{ width: 360, maxWidth: '100%' }}>
        <DatasourceField
          value={datasource}
          onChange={(next) => {
            // There are no variables to choose from outside of dashboards.
            onDatasourceChange(isVariableDatasource(next) ? DEFAULT_DATASOURCE : (next ?? DEFAULT_DATASOURCE));
          }}
        />
      </Box>
      {filters.map((filter, index) => (
        <LabelFilterInput
          key={index}
          datasource={datasource}
          filters={complete(filters)}
          value={filter}
          onChange={(next) => {
            onFiltersChange(filters.map((each, at) => (at === index ? next : each)));
          }}
          onDelete={() => {
            onFiltersChange(filters.filter((_, at) => at !== index));
          }}
        />
      ))}
      <Button
        startIcon={<Plus />}
        onClick={() => {
          onFiltersChange([...filters, { label: '', labelValues: [''], operator: '=' }]);
        }}
      >
        Add filter
      </Button>
    </Stack>
  );
}
