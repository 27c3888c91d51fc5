import { useEffect, useState } from 'react';

/** How long nothing must change before the gateway is asked, in milliseconds. */
export const SETTLED_AFTER_MS = 400;

/** Returns the first value there is, and each later one once it has not changed for a while. */
export function useSettled<Value>(value: Value | undefined, afterMs: number): Value | undefined {
  const [settled, setSettled] = useState(value);
  if (settled === undefined && value !== undefined) {
    setSettled(value);
  }
  useEffect(() => {
    const timer = setTimeout(() => {
      setSettled(value);
    }, afterMs);
    return () => {
      clearTimeout(timer);
    };
  }, [value, afterMs]);
  return settled;
}
