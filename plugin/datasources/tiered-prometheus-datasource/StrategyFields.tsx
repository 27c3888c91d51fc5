import { MenuItem, Stack } from '@mui/material';
import type { ReactElement } from 'react';
import type { FormState } from '../../components/SpecField';
import { SpecField } from '../../components/SpecField';
import type { Strategy, TieredPrometheusDatasourceSpec } from '../../model/spec';

type StrategySpec = Pick<TieredPrometheusDatasourceSpec, 'strategy' | 'splitAcrossReplicas' | 'cache'>;

interface StrategyFieldsProps {
  form: FormState;
  value: StrategySpec;
  onChange: (changes: Partial<StrategySpec>) => void;
}

/** The fields that say whether a query may be answered in parts. */
export function StrategyFields({ form, value, onChange }: StrategyFieldsProps): ReactElement {
  const yesOrNo = (field: 'splitAcrossReplicas' | 'cache', label: string, help: string): ReactElement => (
    <SpecField
      form={form}
      path={`spec.${field}`}
      label={label}
      help={help}
      select
      value={value[field] === undefined ? undefined : String(value[field])}
      onChange={(next) => {
        onChange({ [field]: next === undefined ? undefined : next === 'true' });
      }}
    >
      <MenuItem value="">Left out: as the gateway says</MenuItem>
      <MenuItem value="true">yes</MenuItem>
      <MenuItem value="false">no</MenuItem>
    </SpecField>
  );
  return (
    <Stack direction={{ xs: 'column', sm: 'row' }} spacing={2}>
      <SpecField
        form={form}
        path="spec.strategy"
        label="Strategy"
        help="split: hot answers the newest steps of a range query, cold the older ones. route: one tier for each query. Left out: the gateway's, split by default."
        select
        value={value.strategy}
        onChange={(strategy) => {
          onChange({ strategy: strategy as Strategy | undefined });
        }}
      >
        <MenuItem value="">Left out: as the gateway says</MenuItem>
        <MenuItem value="split">split</MenuItem>
        <MenuItem value="route">route</MenuItem>
      </SpecField>
      {yesOrNo(
        'splitAcrossReplicas',
        'Split with replicas',
        'Split although hot has several replicas, whose values differ a little from those of cold. Left out: as the gateway says, yes by default.'
      )}
      {yesOrNo(
        'cache',
        'Cache',
        'Keep what cold has answered and can no longer change. Left out: as the gateway says, yes by default.'
      )}
    </Stack>
  );
}
