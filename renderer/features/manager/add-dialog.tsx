import { type FormEvent, useState } from 'react';
import { errorText, useLodge } from '../../api/lodge-context.ts';
import { useText } from '../../i18n/i18n.ts';
import { Button } from '../../ui/button.tsx';
import { Dialog } from '../../ui/dialog.tsx';
import { PathField } from '../../ui/path-field.tsx';

interface AddDialogProps {
  readonly onClose: () => void;
  readonly onAdded: (id: string) => void;
}

/** Puts a machine on the list whose folder is there already. */
export function AddDialog({ onClose, onAdded }: AddDialogProps) {
  const { api } = useLodge();
  const text = useText();
  const [folder, setFolder] = useState('');
  const [problem, setProblem] = useState<string>();

  const add = async (event: FormEvent) => {
    event.preventDefault();
    try {
      const { id } = await api.call('machines.add', { folder: folder.trim() });
      onAdded(id);
      onClose();
    } catch (error) {
      setProblem(errorText(error));
    }
  };

  return (
    <Dialog
      title={text('manager.addTitle')}
      onClose={onClose}
      onSubmit={add}
      actions={
        <>
          <Button onClick={onClose}>{text('common.cancel')}</Button>
          <Button look="primary" type="submit" disabled={folder.trim() === ''}>
            {text('common.add')}
          </Button>
        </>
      }
    >
      <PathField
        label={text('manager.addFolder')}
        want="folder"
        hint={text('manager.addFolderHint')}
        value={folder}
        onChange={(value) => {
          setFolder(value);
          setProblem(undefined);
        }}
        error={problem}
      />
    </Dialog>
  );
}
