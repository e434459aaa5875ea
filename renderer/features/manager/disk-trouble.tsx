import { Play } from 'lucide-react';
import type { ErrorData } from '../../../main/contract/errors.ts';
import { errorText } from '../../api/lodge-context.ts';
import { useText } from '../../i18n/i18n.ts';
import { Button } from '../../ui/button.tsx';
import { Notice } from '../../ui/notice.tsx';

/** The host cannot write to one of the machine's disks: why, what to do, and a way to go on all the same. */
export function DiskTrouble({ trouble, onResume }: { trouble: ErrorData; onResume: () => void }) {
  const text = useText();
  return (
    <Notice kind="danger" title={text('trouble.title')}>
      <p>{errorText(trouble)}</p>
      <p>{text('trouble.text')}</p>
      <Button className="notice__action" icon={<Play size={16} aria-hidden="true" />} onClick={onResume}>
        {text('manager.resume')}
      </Button>
    </Notice>
  );
}
