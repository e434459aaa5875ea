import { Toast } from '@base-ui/react/toast';
import { X } from 'lucide-react';
import { useText } from '../i18n/i18n.ts';
import { Button } from './button.tsx';
import { toasts } from './toast-manager.ts';

export function ToastArea() {
  return (
    <Toast.Provider toastManager={toasts}>
      <Toast.Portal>
        <Toast.Viewport className="toasts">
          <ToastList />
        </Toast.Viewport>
      </Toast.Portal>
    </Toast.Provider>
  );
}

function ToastList() {
  const text = useText();
  const { toasts: shown } = Toast.useToastManager();
  return shown.map((toast) => (
    <Toast.Root key={toast.id} toast={toast} className="toast">
      <div className="toast__body">
        <Toast.Title className="toast__title" />
        <Toast.Description className="muted" />
        {toast.actionProps !== undefined && <Toast.Action render={<Button className="toast__action" />} />}
      </div>
      <Toast.Close
        aria-label={text('common.dismiss')}
        render={<Button look="quiet" icon={<X size={16} aria-hidden="true" />} />}
      />
    </Toast.Root>
  ));
}
