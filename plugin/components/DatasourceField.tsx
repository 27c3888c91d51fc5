import type { DatasourceSelectProps, DatasourceSelectValue } from '@perses-dev/plugin-system';
import { DatasourceSelect, isVariableDatasource } from '@perses-dev/plugin-system';
import type { ReactElement } from 'react';
import type { TieredPrometheusDatasourceSelector } from '../model/spec';
import { DATASOURCE_KIND, DEFAULT_DATASOURCE } from '../model/spec';

/** Datasource of a query or variable: undefined for the default one, a selector with a name, or a dashboard variable. */
export type SelectedDatasource = DatasourceSelectValue<TieredPrometheusDatasourceSelector> | undefined;

interface DatasourceFieldProps {
  value: SelectedDatasource;
  onChange: (next: SelectedDatasource) => void;
  isReadonly?: boolean;
}

/** The field that chooses the datasource of a query or variable among those of our kind. */
export function DatasourceField({ value, onChange, isReadonly }: DatasourceFieldProps): ReactElement {
  const select: DatasourceSelectProps['onChange'] = (next) => {
    if (isVariableDatasource(next)) {
      onChange(next);
    } else {
      onChange(next.name === undefined ? undefined : { kind: DATASOURCE_KIND, name: next.name });
    }
  };
  return (
    <DatasourceSelect
      datasourcePluginKind={DATASOURCE_KIND}
      value={value ?? DEFAULT_DATASOURCE}
      onChange={select}
      label="Tiered Prometheus Datasource"
      readOnly={isReadonly}
    />
  );
}
