import type { Settings } from '@perses-dev/prometheus-plugin/lib/explore/PrometheusMetricsFinder/types';
import { useState } from 'react';

/** Where the Prometheus plugin keeps the settings of its finder: they hold here, too. */
const STORAGE_KEY = 'PERSES_METRICS_FINDER_SETTINGS';

const defaults: Settings = { isMetadataEnabled: true, isPanelEnabled: false };

/** Reads settings as they were stored; what is missing or no setting is that of the beginning. */
export function readSettings(stored: string | null): Settings {
  try {
    const value: unknown = JSON.parse(stored ?? '{}');
    return { ...defaults, ...(typeof value === 'object' ? value : undefined) };
  } catch {
    return defaults;
  }
}

/** The settings of the finder, which this browser remembers. */
export function useFinderSettings(): [Settings, (next: Settings) => void] {
  const [settings, setSettings] = useState(() => readSettings(localStorage.getItem(STORAGE_KEY)));
  return [
    settings,
    (next) => {
      setSettings(next);
      localStorage.setItem(STORAGE_KEY, JSON.stringify(next));
    },
  ];
}
