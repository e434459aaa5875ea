import { FitAddon } from '@xterm/addon-fit';
import { Terminal } from '@xterm/xterm';
import '@xterm/xterm/css/xterm.css';
import { useEffect, useRef } from 'react';
import type { Machine } from '../../../main/contract/machines.ts';
import { showError, useLodge } from '../../api/lodge-context.ts';
import { useText } from '../../i18n/i18n.ts';
import { withAdoptedStyles } from '../../ui/adopted-styles.ts';

/** A terminal on the machine's first serial port. */
export default function SerialConsole({ machine }: { machine: Machine }) {
  const { api } = useLodge();
  const text = useText();
  const holder = useRef<HTMLDivElement>(null);
  const { id } = machine;
  const label = text('console.serialOf', { name: machine.name });

  useEffect(() => {
    const place = holder.current;
    if (place === null) {
      return;
    }
    const terminal = new Terminal({
      fontFamily: getComputedStyle(place).fontFamily,
      fontSize: 14,
      scrollback: 5000,
      screenReaderMode: true,
      theme: { background: '#10131a', foreground: '#dfe4ee', cursor: '#dfe4ee' },
    });
    const fit = new FitAddon();
    terminal.loadAddon(fit);
    const styles = withAdoptedStyles(() => terminal.open(place));
    terminal.textarea?.setAttribute('aria-label', label);
    const resize = () => fit.fit();
    resize();
    const observer = new ResizeObserver(resize);
    observer.observe(place);
    const input = terminal.onData((data) => {
      api.call('console.sendSerial', { machine: id, text: data }).catch(showError);
    });
    const output = api.subscribe('console.serial', { machine: id }, { item: (bytes) => terminal.write(bytes) });
    terminal.focus();
    return () => {
      output.dispose();
      input.dispose();
      observer.disconnect();
      terminal.dispose();
      styles.dispose();
    };
  }, [api, id, label]);

  return <div ref={holder} className="serial" />;
}
