import { useCallback, useEffect, useState } from 'react';
import type { CallResult } from '../../../main/contract/api.ts';
import type { Machine } from '../../../main/contract/machines.ts';
import { errorText, useLodge, useShell } from '../../api/lodge-context.ts';
import { useText } from '../../i18n/i18n.ts';
import { Button } from '../../ui/button.tsx';

/** The end of a machine's log. */
export function MachineLog({ machine }: { machine: Machine }) {
  const { api } = useLodge();
  const shell = useShell();
  const text = useText();
  const [log, setLog] = useState<CallResult<'machines.log'>>();
  const [problem, setProblem] = useState<string>();
  const { id, state } = machine;

  // biome-ignore lint/correctness/useExhaustiveDependencies: another run writes another log
  useEffect(() => {
    let current = true;
    api.call('machines.log', { id, maxBytes: 20_000 }).then(
      (found) => current && setLog(found),
      (error: unknown) => current && setProblem(errorText(error)),
    );
    return () => {
      current = false;
    };
  }, [api, id, state]);

  // How it ended stands at the end.
  const showEnd = useCallback(
    (element: HTMLElement | null) => {
      if (element !== null && log !== undefined) {
        element.scrollTop = element.scrollHeight;
      }
    },
    [log],
  );

  if (problem !== undefined) {
    return <p className="muted">{problem}</p>;
  }
  if (log === undefined) {
    return null;
  }
  return (
    <div className="log">
      <pre
        ref={showEnd}
        className="log__text"
        role="log"
        aria-label={text('manager.logOf', { name: machine.name })}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
        tabIndex={0}
      >
        {log.text === '' ? text('manager.logEmpty') : log.text}
      </pre>
      {log.path !== null && (
        <div className="log__file">
          <p className="field__hint">{text('manager.logFile', { path: log.path })}</p>
          {shell.showLog !== undefined && (
            <Button onClick={() => shell.showLog?.(id)}>{text('manager.logShow')}</Button>
          )}
        </div>
      )}
    </div>
  );
}
