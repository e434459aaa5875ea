import { type RefObject, useCallback, useRef } from 'react';

const LANDMARKS = 'main, nav, header, footer, [role="dialog"], [role="alertdialog"]';

/**
 * Where a popup belongs in the page: into the part of it that its trigger is in, so that assistive technology finds it
 * there. Gives back the ref of the trigger, and the container of the popup.
 */
export function useLandmark(): readonly [(trigger: HTMLElement | null) => void, RefObject<HTMLElement | null>] {
  const landmark = useRef<HTMLElement>(null);
  const trigger = useCallback((element: HTMLElement | null) => {
    if (element !== null) {
      landmark.current = element.closest<HTMLElement>(LANDMARKS) ?? document.body;
    }
  }, []);
  return [trigger, landmark];
}
