import { CircleAlert, Info, TriangleAlert } from 'lucide-react';
import type { ReactNode } from 'react';

const ICONS = { info: Info, warning: TriangleAlert, danger: CircleAlert };

/** Something to know about what is shown: what happened, why, and what to do. */
export function Notice(props: { kind: 'info' | 'warning' | 'danger'; title: string; children?: ReactNode }) {
  const Icon = ICONS[props.kind];
  return (
    <div className={`notice notice--${props.kind}`} role={props.kind === 'info' ? 'note' : 'alert'}>
      <Icon size={18} aria-hidden="true" />
      <div className="notice__body">
        <p className="notice__title">{props.title}</p>
        {props.children}
      </div>
    </div>
  );
}
