import { Button, IconButton } from '@mui/material';
import RemoveIcon from 'mdi-material-ui/Minus';
import AddIcon from 'mdi-material-ui/Plus';
import type { ReactElement, ReactNode } from 'react';
import { useRef } from 'react';
import type { FormState } from '../../components/SpecField';
import type { HotTier } from '../../model/spec';
import { hotTiersOf, MAX_HOT_TIERS } from '../../model/spec';
import type { Placing } from './TierFields';
import { TierFields } from './TierFields';

/** Path of the hot tiers in the spec. */
export const HOT_PATH = 'spec.hot';

/** Path of one of several hot tiers in the spec. */
export function pathOfHotTier(index: number): string {
  return `${HOT_PATH}[${String(index)}]`;
}

const placingsOfOne: readonly Placing[] = ['gateway', 'service', 'url', 'name'];
const placingsOfMany: readonly Placing[] = ['service', 'url', 'name'];

interface HotTiersFieldsProps {
  form: FormState;
  value: HotTier | HotTier[] | undefined;
  onChange: (next: HotTier | HotTier[] | undefined) => void;
  /** What is known of the tier at an index. */
  stateOf: (index: number) => ReactNode;
}

/** The fields of the hot tiers: one or several. One is saved without a list, so that every release can read it. */
export function HotTiersFields({ form, value, onChange, stateOf }: HotTiersFieldsProps): ReactElement {
  const tiers = hotTiersOf({ hot: value });
  const isList = Array.isArray(value);
  const keys = useKeys(tiers.length);
  const fields = {
    form,
    example: 'prometheus-k8s',
    duration: {
      field: 'retention',
      label: 'Retention',
      placeholder: 'measured by the gateway',
      help: 'How long it keeps its data. Such as 15d.',
    },
  } as const;
  const canChange = form.isReadonly !== true;
  return (
    <>
      {tiers.length < 2 && (
        <TierFields
          {...fields}
          key={keys.of(0)}
          title="Hot tier"
          help="The Prometheus with the recent data."
          path={isList ? pathOfHotTier(0) : HOT_PATH}
          value={tiers[0]}
          onChange={onChange}
          placings={placingsOfOne}
          aside={stateOf(0)}
          fromGateway="The hot tiers that the gateway is configured with or discovers, if it has any."
        />
      )}
      {tiers.length >= 2 &&
        tiers.map((tier, index) => (
          <TierFields
            {...fields}
            key={keys.of(index)}
            title={`Hot tier ${String(index + 1)}`}
            path={pathOfHotTier(index)}
            value={tier}
            onChange={(next) => {
              onChange(tiers.map((each, at) => (at === index && next !== undefined ? next : each)));
            }}
            placings={placingsOfMany}
            aside={
              <>
                {stateOf(index)}
                {canChange && (
                  <IconButton
                    aria-label={`Remove hot tier ${String(index + 1)}`}
                    onClick={() => {
                      const left = tiers.filter((_, at) => at !== index);
                      keys.remove(index);
                      onChange(left.length === 1 ? left[0] : left);
                    }}
                  >
                    <RemoveIcon />
                  </IconButton>
                )}
              </>
            }
          />
        ))}
      {canChange && tiers.length > 0 && tiers.length < MAX_HOT_TIERS && (
        <Button
          startIcon={<AddIcon />}
          sx={{ alignSelf: 'flex-start' }}
          onClick={() => {
            onChange([...tiers, { url: '' }]);
          }}
        >
          Add hot tier
        </Button>
      )}
    </>
  );
}

/** Keys of list entries, which have no identity but their place: they stay with their entries if others are removed. */
function useKeys(length: number): { of: (index: number) => number; remove: (index: number) => void } {
  const keys = useRef<number[]>([]);
  const next = useRef(0);
  return {
    of: (index) => {
      while (keys.current.length < Math.max(length, index + 1)) {
        keys.current.push(next.current++);
      }
      return keys.current[index] ?? index;
    },
    remove: (index) => {
      keys.current = keys.current.filter((_, at) => at !== index);
    },
  };
}
