import { Toast } from '@base-ui/react/toast';

/** Short messages beside the work: `toasts.add({ title })` from anywhere. */
export const toasts = Toast.createToastManager();
