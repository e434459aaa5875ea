import { useEffect, useState } from 'react';
import type { CallResult } from '../../../main/contract/api.ts';
import type { Machine } from '../../../main/contract/machines.ts';
import { errorText, showError, useLodge } from '../../api/lodge-context.ts';
import { useText } from '../../i18n/i18n.ts';
import { Button } from '../../ui/button.tsx';
import { Dialog } from '../../ui/dialog.tsx';
import { Choices } from '../../ui/field.tsx';
import { formatBytes } from '../../ui/format.ts';
import { Notice } from '../../ui/notice.tsx';
import { PathText } from '../../ui/path-text.tsx';

/** Asks whether a machine leaves the list only, or with all its files, which it names. */
export function DeleteDialog({ machine, onClose }: { machine: Machine; onClose: () => void }) {
  const { api } = useLodge();
  const text = useText();
  const [how, setHow] = useState<'list' | 'files'>('list');
  const [files, setFiles] = useState<CallResult<'machines.files'>>();
  const [problem, setProblem] = useState<string>();
  const [busy, setBusy] = useState(false);
  const { id } = machine;

  useEffect(() => {
    let current = true;
    api.call('machines.files', { id }).then(
      (found) => current && setFiles(found),
      (error: unknown) => current && setProblem(errorText(error)),
    );
    return () => {
      current = false;
    };
  }, [api, id]);

  const remove = async () => {
    setBusy(true);
    try {
      await api.call('machines.remove', { id, deleteFiles: how === 'files' });
      onClose();
    } catch (error) {
      setBusy(false);
      showError(error);
    }
  };

  const canDeleteFiles = machine.state !== 'inaccessible' && problem === undefined;
  return (
    <Dialog
      alert
      size="wide"
      title={text('delete.title', { name: machine.name })}
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>{text('common.cancel')}</Button>
          <Button look="danger" disabled={busy || (how === 'files' && files === undefined)} onClick={remove}>
            {text(how === 'files' ? 'delete.confirmFiles' : 'delete.confirmList')}
          </Button>
        </>
      }
    >
      <Choices
        label={text('delete.how')}
        labelHidden
        value={how}
        onChange={setHow}
        choices={[
          { value: 'list', label: text('delete.list'), detail: text('delete.listHint') },
          {
            value: 'files',
            label: text('delete.files'),
            detail: problem ?? text(machine.state === 'inaccessible' ? 'delete.filesUnknown' : 'delete.filesHint'),
            disabled: !canDeleteFiles,
          },
        ]}
      />
      {how === 'files' && files !== undefined && (
        <div className="file-list">
          <h3 id="files-to-delete">{text('delete.filesNamed')}</h3>
          {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a list that scrolls must be reachable by keyboard */}
          <ul aria-labelledby="files-to-delete" tabIndex={0}>
            {files.deleted.map(({ path, sizeBytes }) => (
              <li key={path}>
                <PathText path={path} />
                <span className="muted file-list__size">{formatBytes(sizeBytes)}</span>
              </li>
            ))}
          </ul>
          {files.kept.length > 0 && (
            <Notice kind="info" title={text('delete.filesKept')}>
              <ul>
                {files.kept.map(({ path, reason }) => (
                  <li key={path}>
                    <PathText path={path} /> <span className="muted">{text(`delete.kept.${reason}`)}</span>
                  </li>
                ))}
              </ul>
            </Notice>
          )}
        </div>
      )}
    </Dialog>
  );
}
