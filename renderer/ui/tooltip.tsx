import { Tooltip as Base } from '@base-ui/react/tooltip';
import type { ReactElement, ReactNode } from 'react';
import { useLandmark } from './landmark.ts';

/** A hint on hover and focus. What it says must also reach people who see no tooltips: name the trigger accordingly. */
export function Tooltip({ text, children }: { text: ReactNode; children: ReactElement }) {
  const [place, landmark] = useLandmark();
  return (
    <Base.Root>
      <Base.Trigger ref={place} render={children} />
      <Base.Portal container={landmark}>
        <Base.Positioner sideOffset={6} className="popup-layer">
          <Base.Popup className="tooltip">{text}</Base.Popup>
        </Base.Positioner>
      </Base.Portal>
    </Base.Root>
  );
}

export const TooltipProvider = Base.Provider;
