import { useCallback, useEffect, useRef, useState } from 'react';
import type { MediaInspection } from '../../../main/contract/host.ts';
import { errorText, useLodge } from '../../api/lodge-context.ts';

export interface Inspection {
  readonly path: string;
  readonly found: MediaInspection | undefined;
  /** Why the image cannot be used. */
  readonly problem: string | undefined;
}

interface MediaLook {
  /** The last image that was looked at. */
  readonly inspection: Inspection | undefined;
  readonly busy: boolean;
  /** Looks at an image now, if that was not done yet. */
  look(path: string): Promise<Inspection | undefined>;
}

const TYPING_MILLIS = 350;

/** Looks into the install image while its path is typed, and tells `onFound` what is in it. */
export function useMediaInspection(path: string, onFound: (inspection: Inspection) => void): MediaLook {
  const { api } = useLodge();
  const [inspection, setInspection] = useState<Inspection>();
  const [busy, setBusy] = useState(false);
  const latest = useRef({ path, onFound, inspection, pending: new Map<string, Promise<Inspection>>() });
  latest.current.path = path;
  latest.current.onFound = onFound;

  const look = useCallback(
    async (wanted: string): Promise<Inspection | undefined> => {
      const { inspection: known, pending } = latest.current;
      if (wanted === '') {
        latest.current.inspection = undefined;
        setInspection(undefined);
        latest.current.onFound({ path: '', found: undefined, problem: undefined });
        return undefined;
      }
      if (known?.path === wanted) {
        return known;
      }
      setBusy(true);
      const asked =
        pending.get(wanted) ??
        api.call('media.inspect', { path: wanted }).then(
          (found) => ({ path: wanted, found, problem: undefined }),
          (error: unknown) => ({ path: wanted, found: undefined, problem: errorText(error) }),
        );
      pending.set(wanted, asked);
      const result = await asked;
      if (pending.delete(wanted) && latest.current.path.trim() === wanted) {
        latest.current.inspection = result;
        setInspection(result);
        latest.current.onFound(result);
      }
      setBusy(pending.size > 0);
      return result;
    },
    [api],
  );

  useEffect(() => {
    const wanted = path.trim();
    const timer = setTimeout(() => void look(wanted), wanted === '' ? 0 : TYPING_MILLIS);
    return () => clearTimeout(timer);
  }, [path, look]);

  return { inspection, busy, look };
}
