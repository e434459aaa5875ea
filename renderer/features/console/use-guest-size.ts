import { type RefObject, useEffect } from 'react';
import { useLodge } from '../../api/lodge-context.ts';

/** A window that is being dragged tells its size once it has not changed for so long, in milliseconds. */
const REST_MILLIS = 250;

interface GuestSizeOptions {
  readonly machine: string;
  readonly head: number;
  /** The element that shows the guest's screen. */
  readonly surface: RefObject<HTMLElement | null>;
  /** The guest is to follow. */
  readonly enabled: boolean;
}

/** Tells the guest in how many pixels of the display its screen is shown, so that it can use exactly these. */
export function useGuestSize({ machine, head, surface, enabled }: GuestSizeOptions): void {
  const { api } = useLodge();
  useEffect(() => {
    const element = surface.current;
    if (element === null || !enabled) {
      return;
    }
    let timer: ReturnType<typeof setTimeout> | undefined;
    const tell = () => {
      const width = Math.round(element.clientWidth * window.devicePixelRatio);
      const height = Math.round(element.clientHeight * window.devicePixelRatio);
      // Hidden behind another tab it has no size.
      if (width > 0 && height > 0) {
        // A machine that ends meanwhile wants no size.
        api.call('console.resizeScreen', { machine, head, width, height }).catch(() => undefined);
      }
    };
    const changed = () => {
      clearTimeout(timer);
      timer = setTimeout(tell, REST_MILLIS);
    };
    changed();
    const observer = new ResizeObserver(changed);
    observer.observe(element);
    return () => {
      clearTimeout(timer);
      observer.disconnect();
    };
  }, [api, machine, head, surface, enabled]);
}
