import { type RefObject, useCallback, useEffect, useRef, useState } from 'react';
import type { MouseInput } from '../../../main/contract/console.ts';
import { useLodge } from '../../api/lodge-context.ts';
import { KeyCapture, type KeyChange } from '../../input/key-capture.ts';
import { absoluteInput, relativeInput, WheelNotches } from '../../input/mouse-input.ts';
import { hostPlatform } from '../../input/platform.ts';

interface GuestInputOptions {
  readonly machine: string;
  /** The element whose keyboard focus is the guest's. */
  readonly surface: RefObject<HTMLElement | null>;
  readonly mouse: 'relative' | 'absolute';
  /** The screen that is shown there. */
  readonly head: number;
  /** The machine runs, so that there is someone to give input to. */
  readonly enabled: boolean;
  /** A click wants the mouse for the guest; `captureMouse` takes it. */
  onCaptureWish(): void;
  /** A key was pressed together with the host key. */
  onHostCommand(code: string): void;
  /** The host key was pressed alone while the guest had neither keyboard nor mouse, or had them. */
  onHostTap(captured: boolean): void;
}

export interface GuestInput {
  readonly keyboardCaptured: boolean;
  readonly mouseCaptured: boolean;
  captureMouse(): void;
  release(): void;
}

/** Gives keyboard and mouse to the guest while its screen has the focus. */
export function useGuestInput(options: GuestInputOptions): GuestInput {
  const { api, settings } = useLodge();
  const { machine, surface, mouse, head, enabled } = options;
  const [keyboardCaptured, setKeyboardCaptured] = useState(false);
  const [mouseCaptured, setMouseCaptured] = useState(false);
  const latest = useRef(options);
  latest.current = options;
  const { hostKey } = settings;

  const captureMouse = useCallback(() => {
    const element = surface.current;
    if (element === null) {
      return;
    }
    element.focus();
    // The guest accelerates the pointer itself; where the browser cannot leave it to it, as it comes.
    const locked: unknown = element.requestPointerLock({ unadjustedMovement: true });
    if (locked instanceof Promise) {
      locked.catch(() => Promise.resolve(element.requestPointerLock()).catch(() => undefined));
    }
  }, [surface]);

  const release = useCallback(() => {
    document.exitPointerLock?.();
    surface.current?.blur();
  }, [surface]);

  useEffect(() => {
    const keys = new KeyCapture({
      hostKey,
      platform: hostPlatform(),
      send(changes: readonly KeyChange[]) {
        for (const { code, down } of changes) {
          // A machine that ends meanwhile wants no keys.
          api.call('console.sendKey', { machine, code, down }).catch(() => undefined);
        }
      },
      hostKeyTapped() {
        const captured = hasFocus() || Boolean(document.pointerLockElement);
        latest.current.onHostTap(captured);
      },
      hostCommand: (code) => latest.current.onHostCommand(code),
    });
    const hasFocus = () => surface.current !== null && document.activeElement === surface.current;
    /** Whether a key event is the guest's, or this window's because of the host key. */
    const takes = (event: KeyboardEvent): boolean =>
      (hasFocus() && latest.current.enabled) || event.code === hostKey || keys.hostKeyDown;
    const onKeyDown = (event: KeyboardEvent) => {
      if (takes(event)) {
        event.preventDefault();
        event.stopPropagation();
        keys.keyDown(event);
      }
    };
    const onKeyUp = (event: KeyboardEvent) => {
      if (takes(event)) {
        event.preventDefault();
        event.stopPropagation();
        keys.keyUp(event);
      }
    };
    const releaseKeys = () => {
      keys.releaseAll();
      if (latest.current.enabled) {
        api.call('console.releaseKeys', { machine }).catch(() => undefined);
      }
    };
    const onFocusChange = () => {
      const focused = hasFocus();
      setKeyboardCaptured((before) => {
        if (before && !focused) {
          releaseKeys();
        }
        return focused;
      });
    };
    const onWindowBlur = () => {
      releaseKeys();
      document.exitPointerLock?.();
    };
    window.addEventListener('keydown', onKeyDown, true);
    window.addEventListener('keyup', onKeyUp, true);
    window.addEventListener('blur', onWindowBlur);
    document.addEventListener('focusin', onFocusChange);
    document.addEventListener('focusout', onFocusChange);
    onFocusChange();
    return () => {
      window.removeEventListener('keydown', onKeyDown, true);
      window.removeEventListener('keyup', onKeyUp, true);
      window.removeEventListener('blur', onWindowBlur);
      document.removeEventListener('focusin', onFocusChange);
      document.removeEventListener('focusout', onFocusChange);
      keys.releaseAll();
    };
  }, [api, machine, hostKey, surface]);

  useEffect(() => {
    const element = surface.current;
    if (element === null || !enabled) {
      return;
    }
    const wheel = new WheelNotches();
    const send = (input: MouseInput | undefined) => {
      if (input !== undefined) {
        api.call('console.sendMouse', { machine, input }).catch(() => undefined);
      }
    };
    const locked = () => document.pointerLockElement === element;
    const picture = () =>
      element.querySelector('.picture__canvas')?.getBoundingClientRect() ?? element.getBoundingClientRect();
    const onMove = (event: MouseEvent, notches = 0) => {
      if (mouse === 'absolute') {
        send(absoluteInput(event, picture(), notches, head));
      } else if (locked()) {
        send(relativeInput(event, notches));
      }
    };
    const onDown = (event: MouseEvent) => {
      if (mouse === 'absolute' || locked()) {
        event.preventDefault();
        element.focus();
        onMove(event);
      } else if (event.button === 0) {
        event.preventDefault();
        element.focus();
        latest.current.onCaptureWish();
      }
    };
    const onMouse = (event: MouseEvent) => onMove(event);
    /** What is dragged out of the window stays the guest's until it is let go. */
    const onPointer = (event: PointerEvent) => {
      if (mouse === 'absolute') {
        element.setPointerCapture?.(event.pointerId);
      }
    };
    const onWheel = (event: WheelEvent) => {
      if (mouse === 'absolute' || locked()) {
        event.preventDefault();
        const notches = wheel.take(event);
        if (notches !== 0) {
          const still = { movementX: 0, movementY: 0, buttons: event.buttons };
          send(mouse === 'absolute' ? absoluteInput(event, picture(), notches, head) : relativeInput(still, notches));
        }
      }
    };
    const onMenu = (event: Event) => event.preventDefault();
    const onLockChange = () => setMouseCaptured(locked());
    element.addEventListener('pointerdown', onPointer);
    element.addEventListener('mousedown', onDown);
    element.addEventListener('mouseup', onMouse);
    element.addEventListener('mousemove', onMouse);
    element.addEventListener('wheel', onWheel, { passive: false });
    element.addEventListener('contextmenu', onMenu);
    document.addEventListener('pointerlockchange', onLockChange);
    return () => {
      element.removeEventListener('pointerdown', onPointer);
      element.removeEventListener('mousedown', onDown);
      element.removeEventListener('mouseup', onMouse);
      element.removeEventListener('mousemove', onMouse);
      element.removeEventListener('wheel', onWheel);
      element.removeEventListener('contextmenu', onMenu);
      document.removeEventListener('pointerlockchange', onLockChange);
      if (locked()) {
        document.exitPointerLock();
      }
      setMouseCaptured(false);
    };
  }, [api, machine, surface, mouse, head, enabled]);

  return { keyboardCaptured, mouseCaptured, captureMouse, release };
}
