import { FormControlLabel, MenuItem, Radio, RadioGroup, Stack, Typography } from '@mui/material';
import type { ReactElement, ReactNode } from 'react';
import { useRef } from 'react';
import { Section } from '../../components/Section';
import type { FormState } from '../../components/SpecField';
import { SpecField } from '../../components/SpecField';
import type { HotTier, Service, Tier } from '../../model/spec';

/** Who says where a tier is, and how. */
export type Placing = 'gateway' | 'service' | 'url' | 'name';

const placingTexts: Readonly<Record<Placing, string>> = {
  gateway: 'From the gateway',
  service: 'Kubernetes service',
  url: 'URL',
  name: 'By name',
};

interface TierFieldsProps<AnyTier extends Tier> {
  title: string;
  help?: string;
  /** Path of the tier in the spec. */
  path: string;
  form: FormState;
  value: AnyTier | undefined;
  onChange: (next: AnyTier | undefined) => void;
  /** The ways to say where the tier is. A tier that can be named has a name, too. */
  placings: readonly Placing[];
  /** Beside the title. */
  aside?: ReactNode;
  /** Name of a service that is such a tier. */
  example: string;
  /** What stands in for a tier that is left out. */
  fromGateway?: string;
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
  placings,
  aside,
  example,
  fromGateway,
  duration,
}: TierFieldsProps<AnyTier>): ReactElement {
  const placing = placingOf(value);
  // What was typed is there again if one changes one's mind.
  const earlier = useRef<Partial<Record<Placing, AnyTier>>>({});
  const place = (next: Placing): void => {
    earlier.current[placing] = value;
    onChange(earlier.current[next] ?? (emptyTier(next, value) as AnyTier | undefined));
  };
  const change = (changes: Partial<HotTier>): void => {
    onChange({ ...value, ...changes } as AnyTier);
  };
  const durationValue = value?.[duration.field] as string | undefined;
  return (
    <Section title={title} help={help} aside={aside}>
      <RadioGroup
        row
        aria-label={`Where the ${title.toLowerCase()} is`}
        value={placing}
        onChange={(event) => {
          place(event.target.value as Placing);
        }}
      >
        {placings.map((each) => (
          <FormControlLabel
            key={each}
            value={each}
            label={placingTexts[each]}
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
      {placing !== 'gateway' && placings.includes('name') && (
        <SpecField
          form={form}
          path={`${path}.name`}
          label="Name"
          placeholder={placing === 'name' ? 'eu-1' : 'its host and port, or its service'}
          help={
            placing === 'name'
              ? 'Of a hot tier in the configuration of the gateway.'
              : 'Tells this hot tier from others, such as the name of its cluster.'
          }
          required={placing === 'name'}
          value={(value as HotTier | undefined)?.name}
          onChange={(name) => {
            // As with the URL: without an empty name, the tier would be a service.
            change({ name: name ?? (placing === 'name' ? '' : undefined) });
          }}
        />
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

/** Who says where a tier is, and how. */
export function placingOf(tier: HotTier | undefined): Placing {
  if (tier === undefined) {
    return 'gateway';
  }
  return tier.url !== undefined ? 'url' : tier.service === undefined && tier.name !== undefined ? 'name' : 'service';
}

/** A tier that is yet to be filled in. It keeps its name. */
function emptyTier(placing: Placing, earlier?: HotTier): HotTier | undefined {
  const name = earlier?.name === undefined || earlier.name === '' ? {} : { name: earlier.name };
  switch (placing) {
    case 'gateway':
      return undefined;
    case 'service':
      return { ...name, service: {} as Service };
    case 'url':
      return { ...name, url: '' };
    case 'name':
      return { name: '', ...name };
  }
}

/** What is only digits is a number, in which a name of a port differs from it. */
function parsePort(text: string): number | string {
  return /^[0-9]+(\.[0-9]+)?$/.test(text) ? Number(text) : text;
}
