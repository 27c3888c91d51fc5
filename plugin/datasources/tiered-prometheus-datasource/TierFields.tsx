import { FormControlLabel, MenuItem, Radio, RadioGroup, Stack, Typography } from '@mui/material';
import type { ReactElement } from 'react';
import { useRef } from 'react';
import { Section } from '../../components/Section';
import type { FormState } from '../../components/SpecField';
import { SpecField } from '../../components/SpecField';
import type { Service, Tier } from '../../model/spec';

/** Who says where a tier is, and how. */
type Placing = 'gateway' | 'service' | 'url';

const placings: Readonly<Record<Placing, string>> = {
  gateway: 'From the gateway',
  service: 'Kubernetes service',
  url: 'URL',
};

interface TierFieldsProps<AnyTier extends Tier> {
  title: string;
  help: string;
  /** Path of the tier in the spec. */
  path: string;
  form: FormState;
  value: AnyTier | undefined;
  onChange: (next: AnyTier | undefined) => void;
  /** Name of a service that is such a tier. */
  example: string;
  /** What stands in for a tier that is left out. */
  fromGateway: string;
  /** The field that only this tier has: a duration. */
  duration: { field: keyof AnyTier & string; label: string; placeholder: string; help: string };
}

/** The fields of one tier: nothing, a service of the cluster, or a URL. */
export function TierFields<AnyTier extends Tier>({
  title,
  help,
  path,
  form,
  value,
  onChange,
  example,
  fromGateway,
  duration,
}: TierFieldsProps<AnyTier>): ReactElement {
  const placing = placingOf(value);
  // What was typed is there again if one changes one's mind.
  const earlier = useRef<Partial<Record<Placing, AnyTier>>>({});
  const place = (next: Placing): void => {
    earlier.current[placing] = value;
    onChange(earlier.current[next] ?? (emptyTier(next) as AnyTier | undefined));
  };
  const change = (changes: Partial<Tier>): void => {
    onChange({ ...value, ...changes } as AnyTier);
  };
  const durationValue = value?.[duration.field] as string | undefined;
  return (
    <Section title={title} help={help}>
      <RadioGroup
        row
        aria-label={`Where the ${title.toLowerCase()} is`}
        value={placing}
        onChange={(event) => {
          place(event.target.value as Placing);
        }}
      >
        {Object.entries(placings).map(([each, text]) => (
          <FormControlLabel
            key={each}
            value={each}
            label={text}
            control={<Radio size="small" />}
            disabled={form.isReadonly === true && each !== placing}
          />
        ))}
      </RadioGroup>
      {placing === 'gateway' && (
        <Typography variant="body2" color="text.secondary">
          {fromGateway}
        </Typography>
      )}
      {placing === 'url' && (
        <SpecField
          form={form}
          path={`${path}.url`}
          label="URL"
          placeholder={`https://${example}.openshift-monitoring.svc:9091`}
          help="Of the Prometheus API, as the gateway reaches it, without the trailing /api/v1."
          required
          value={value?.url}
          onChange={(url) => {
            // An empty URL is one that is to be typed yet; without any, the tier would be a service.
            change({ url: url ?? '' });
          }}
        />
      )}
      {placing === 'service' && (
        <ServiceFields
          example={example}
          path={`${path}.service`}
          form={form}
          value={value?.service}
          onChange={(service) => {
            change({ service });
          }}
        />
      )}
      {placing !== 'gateway' && (
        <SpecField
          form={form}
          path={`${path}.${duration.field}`}
          label={duration.label}
          placeholder={duration.placeholder}
          help={duration.help}
          value={durationValue}
          onChange={(next) => {
            change({ [duration.field]: next });
          }}
        />
      )}
    </Section>
  );
}

interface ServiceFieldsProps {
  example: string;
  path: string;
  form: FormState;
  value: Partial<Service> | undefined;
  onChange: (next: Service) => void;
}

function ServiceFields({ example, path, form, value, onChange }: ServiceFieldsProps): ReactElement {
  const change = (changes: Partial<Service>): void => {
    onChange({ ...value, ...changes } as Service);
  };
  const port = value?.port;
  return (
    <>
      <Stack direction={{ xs: 'column', sm: 'row' }} spacing={2}>
        <SpecField
          form={form}
          path={`${path}.namespace`}
          label="Namespace"
          placeholder="openshift-monitoring"
          required
          value={value?.namespace}
          onChange={(namespace) => {
            change({ namespace });
          }}
        />
        <SpecField
          form={form}
          path={`${path}.name`}
          label="Service"
          placeholder={example}
          required
          value={value?.name}
          onChange={(name) => {
            change({ name });
          }}
        />
      </Stack>
      <Stack direction={{ xs: 'column', sm: 'row' }} spacing={2}>
        <SpecField
          form={form}
          path={`${path}.port`}
          label="Port"
          placeholder="its only port"
          help="Number or name of a port of the service."
          value={port === undefined ? undefined : String(port)}
          onChange={(next) => {
            change({ port: next === undefined ? undefined : parsePort(next) });
          }}
        />
        <SpecField
          form={form}
          path={`${path}.scheme`}
          label="Scheme"
          help="Protocol that the service talks on this port."
          select
          value={value?.scheme}
          onChange={(scheme) => {
            change({ scheme: scheme as Service['scheme'] });
          }}
        >
          <MenuItem value="">Left out: as the service says</MenuItem>
          <MenuItem value="https">https</MenuItem>
          <MenuItem value="http">http</MenuItem>
        </SpecField>
      </Stack>
    </>
  );
}

function placingOf(tier: Tier | undefined): Placing {
  return tier === undefined ? 'gateway' : tier.url === undefined ? 'service' : 'url';
}

function emptyTier(placing: Placing): Partial<Tier> | undefined {
  switch (placing) {
    case 'gateway':
      return undefined;
    case 'service':
      return { service: {} as Service };
    case 'url':
      return { url: '' };
  }
}

/** What is only digits is a number, in which a name of a port differs from it. */
function parsePort(text: string): number | string {
  return /^[0-9]+(\.[0-9]+)?$/.test(text) ? Number(text) : text;
}
