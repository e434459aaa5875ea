import { File, Folder } from 'lucide-react';
import { type KeyboardEvent, type ReactNode, type Ref, useEffect, useRef, useState } from 'react';
import type { PathCompletion } from '../../main/contract/host.ts';
import { showError, useLodge, useShell } from '../api/lodge-context.ts';
import { useText } from '../i18n/i18n.ts';
import { Button } from './button.tsx';
import { Field } from './field.tsx';

interface PathFieldProps {
  readonly label: string;
  readonly value: string;
  readonly onChange: (value: string) => void;
  readonly onBlur?: () => void;
  readonly want: 'file' | 'folder';
  readonly hint?: ReactNode;
  readonly warning?: ReactNode;
  readonly error?: string | undefined;
  readonly ref?: Ref<HTMLInputElement>;
}

type Entry = PathCompletion['entries'][number];

const NO_ENTRIES: readonly Entry[] = [];
const TYPING_MILLIS = 120;
const NONE = -1;

/**
 * A path on the host: typed with completion (the combobox pattern of WAI-ARIA), and chosen in a file dialog where the
 * shell has one.
 */
export function PathField(props: PathFieldProps) {
  const { label, value, onChange, onBlur, want, hint, warning, error, ref } = props;
  const text = useText();
  const { pickPath } = useShell();
  const [typing, setTyping] = useState(false);
  const [active, setActive] = useState(NONE);
  const entries = useCompletion(typing ? value : undefined, want);
  const open = entries.length > 0;
  const row = useRef<HTMLDivElement>(null);

  const close = () => {
    setTyping(false);
    setActive(NONE);
  };
  const take = ({ path, kind }: Entry) => {
    onChange(path);
    setActive(NONE);
    // What is in a folder that was chosen comes next.
    setTyping(kind === 'folder');
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const chosen = entries[active];
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      event.preventDefault();
      if (open) {
        const step = event.key === 'ArrowDown' ? 1 : -1;
        // One place of the round is the input itself, where nothing is chosen.
        setActive(((active + 1 + step + entries.length + 1) % (entries.length + 1)) - 1);
      } else {
        setTyping(true);
      }
    } else if (event.key === 'Enter' && chosen !== undefined) {
      event.preventDefault();
      take(chosen);
    } else if (event.key === 'Escape' && open) {
      // Only the list closes, not the dialog around it.
      event.preventDefault();
      event.stopPropagation();
      close();
    }
  };

  return (
    <Field label={label} hint={hint} warning={warning} error={open ? undefined : error}>
      {(ids) => (
        <div ref={row} className="field__row">
          <input
            {...ids}
            ref={ref}
            type="text"
            role="combobox"
            aria-autocomplete="list"
            aria-expanded={open}
            aria-controls={`${ids.id}-list`}
            aria-activedescendant={active === NONE ? undefined : `${ids.id}-${active}`}
            className="input"
            autoComplete="off"
            autoCapitalize="off"
            spellCheck={false}
            value={value}
            onChange={(event) => {
              onChange(event.target.value);
              setTyping(!isPasted(event.nativeEvent));
              setActive(NONE);
            }}
            onKeyDown={onKeyDown}
            onBlur={() => {
              close();
              onBlur?.();
            }}
          />
          <CompletionList id={ids.id} anchor={row} entries={entries} active={active} onTake={take} />
          {pickPath !== undefined && (
            <Button
              aria-describedby={ids.id}
              onClick={async () => {
                const start = value === '' ? {} : { start: value };
                try {
                  const path = await pickPath({ want, title: label, ...start });
                  if (path !== undefined) {
                    onChange(path);
                  }
                } catch (failure) {
                  showError(failure);
                }
              }}
            >
              {text('common.browse')}
            </Button>
          )}
        </div>
      )}
    </Field>
  );
}

/** Whether several characters came at once: a path that was pasted is taken to be what its user wants. */
function isPasted(event: Event): boolean {
  return event instanceof InputEvent && (event.inputType === 'insertFromPaste' || (event.data ?? '').length > 1);
}

interface CompletionListProps {
  readonly id: string;
  readonly anchor: React.RefObject<HTMLElement | null>;
  readonly entries: readonly Entry[];
  readonly active: number;
  readonly onTake: (entry: Entry) => void;
}

/** The suggestions, above everything else of the window and as wide as their field. */
function CompletionList({ id, anchor, entries, active, onTake }: CompletionListProps) {
  const text = useText();
  const list = useRef<HTMLDivElement>(null);
  const open = entries.length > 0;

  useEffect(() => {
    const element = list.current;
    const field = anchor.current?.getBoundingClientRect();
    if (!open || element === null || field === undefined) {
      return;
    }
    element.style.left = `${field.left}px`;
    element.style.top = `${field.bottom + 4}px`;
    element.style.width = `${field.width}px`;
    element.style.maxHeight = `${Math.max(96, Math.min(280, window.innerHeight - field.bottom - 16))}px`;
    element.showPopover?.();
    return () => element.hidePopover?.();
  }, [open, anchor]);

  useEffect(() => {
    list.current?.children[active]?.scrollIntoView({ block: 'nearest' });
  }, [active]);

  return (
    <div
      ref={list}
      id={`${id}-list`}
      role="listbox"
      aria-label={text('common.suggestions')}
      popover="manual"
      className="popup popup--completion"
    >
      {entries.map((entry, index) => (
        // biome-ignore lint/a11y/useFocusableInteractive: the focus stays in the input, which names the active option
        <div
          key={entry.path}
          id={`${id}-${index}`}
          role="option"
          aria-selected={index === active}
          className="popup__item"
          data-highlighted={index === active ? '' : undefined}
          onMouseDown={(event) => {
            // The input keeps the focus.
            event.preventDefault();
            onTake(entry);
          }}
        >
          <span className="popup__icon" aria-hidden="true">
            {entry.kind === 'folder' ? <Folder size={16} /> : <File size={16} />}
          </span>
          {entry.name}
        </div>
      ))}
    </div>
  );
}

/** What the path typed so far can become; nothing when it is complete already. */
function useCompletion(prefix: string | undefined, want: 'file' | 'folder'): readonly Entry[] {
  const { api } = useLodge();
  const [found, setFound] = useState<readonly Entry[]>(NO_ENTRIES);
  useEffect(() => {
    if (prefix === undefined || prefix === '') {
      setFound(NO_ENTRIES);
      return;
    }
    let current = true;
    const timer = setTimeout(() => {
      api
        .call('fs.complete', { prefix, want: want === 'folder' ? 'folder' : 'any' })
        .then(({ entries }) => {
          if (current) {
            const complete = entries.some(
              ({ path, kind }) =>
                path === prefix || (want === 'folder' && kind === 'folder' && path.slice(0, -1) === prefix),
            );
            setFound(complete ? NO_ENTRIES : entries);
          }
        })
        // Without suggestions the field is as good.
        .catch(() => setFound(NO_ENTRIES));
    }, TYPING_MILLIS);
    return () => {
      current = false;
      clearTimeout(timer);
    };
  }, [api, prefix, want]);
  return found;
}
