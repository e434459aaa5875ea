import { Dialog as Base } from '@base-ui/react/dialog';
import { type ReactNode, type RefObject, useId } from 'react';

export interface DialogProps {
  readonly title: string;
  readonly description?: ReactNode;
  readonly children?: ReactNode;
  readonly actions: ReactNode;
  readonly onClose: () => void;
  readonly size?: 'wide' | 'large';
  /** Questions with consequences: announced as an alert, and a click beside it does not answer. */
  readonly alert?: boolean;
  readonly initialFocus?: RefObject<HTMLElement | null>;
  /** A form's submit handler: the dialog then is one form, and Enter submits. */
  readonly onSubmit?: (event: React.FormEvent<HTMLFormElement>) => void;
}

/** A modal dialog that is open as long as it is rendered. */
export function Dialog(props: DialogProps) {
  const { title, description, children, actions, onClose, size, alert, initialFocus, onSubmit } = props;
  const descriptionId = useId();
  const content = (
    <>
      <div className="dialog__head">
        <Base.Title className="dialog__title">{title}</Base.Title>
        {description !== undefined && (
          <div id={descriptionId} className="dialog__description">
            {description}
          </div>
        )}
      </div>
      {children !== undefined && <div className="dialog__body">{children}</div>}
      <div className="dialog__actions">{actions}</div>
    </>
  );
  return (
    <Base.Root
      open
      disablePointerDismissal
      onOpenChange={(open) => {
        if (!open) {
          onClose();
        }
      }}
    >
      <Base.Portal>
        <Base.Backdrop className="dialog-backdrop" />
        <Base.Popup
          className={size === undefined ? 'dialog' : `dialog dialog--${size}`}
          role={alert === true ? 'alertdialog' : 'dialog'}
          {...(description === undefined ? {} : { 'aria-describedby': descriptionId })}
          {...(initialFocus === undefined ? {} : { initialFocus })}
        >
          {onSubmit === undefined ? (
            content
          ) : (
            <form className="dialog__form" noValidate onSubmit={onSubmit}>
              {content}
            </form>
          )}
        </Base.Popup>
      </Base.Portal>
    </Base.Root>
  );
}
