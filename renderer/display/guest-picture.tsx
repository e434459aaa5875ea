import { type ReactNode, useEffect, useRef, useState } from 'react';
import { useLodge } from '../api/lodge-context.ts';
import { cssCursor, cursorCanvas, type GuestCursor, useGuestCursor } from './guest-cursor.ts';
import { centred, type ScaleMode, type Size, scaled } from './scaling.ts';
import { openScreen } from './screen.ts';

interface GuestPictureProps {
  readonly machine: string;
  readonly mode: ScaleMode;
  readonly framesPerSecond?: number;
  /** The screen of the machine, the first unless said otherwise. */
  readonly head?: number;
  /**
   * How the guest's pointer is shown where the picture does not hold it: as the host's own, which stands where it
   * points, or drawn over the picture, where the host's is captured. Not at all unless said otherwise.
   */
  readonly pointer?: 'host' | 'drawn';
  /** Shown until the first picture is there. */
  readonly placeholder: ReactNode;
}

/** The guest's screen, scaled into the element around it. Follows the guest when it changes its mode. */
export function GuestPicture({ machine, mode, framesPerSecond, head = 0, pointer, placeholder }: GuestPictureProps) {
  const { api } = useLodge();
  const holder = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const [guest, setGuest] = useState<Size>();
  const view = useViewSize(holder);
  /** Where the picture begins, and how many CSS pixels one of its pixels has. */
  const [place, setPlace] = useState({ left: 0, top: 0, factor: 1 });
  const visible = usePageVisible();
  const cursor = useGuestCursor(machine, head, pointer !== undefined);

  useEffect(() => {
    const place = holder.current;
    if (place === null || !visible) {
      return;
    }
    // A canvas can be given to a worker only once, so every subscription makes its own.
    const element = document.createElement('canvas');
    element.className = 'picture__canvas';
    element.setAttribute('aria-hidden', 'true');
    const screen = openScreen(element, {
      drawn(sequence, width, height) {
        subscription.ack(sequence);
        if (canvas.current !== element && width > 0 && height > 0) {
          canvas.current?.remove();
          canvas.current = element;
          place.append(element);
        }
        setGuest((known) => (known?.width === width && known.height === height ? known : { width, height }));
      },
      failed: (message) => console.error(message),
    });
    const rate = framesPerSecond === undefined ? {} : { framesPerSecond };
    const subscription = api.subscribe(
      'console.frames',
      { machine, head, ...rate },
      { item: (packet) => screen.push(packet) },
    );
    return () => {
      subscription.dispose();
      screen.dispose();
    };
  }, [api, machine, head, framesPerSecond, visible]);

  useEffect(() => {
    const element = canvas.current;
    if (element === null || guest === undefined || guest.width === 0 || guest.height === 0) {
      return;
    }
    const size = scaled(mode, guest, view, view.devicePixelRatio);
    element.style.width = `${size.width}px`;
    element.style.height = `${size.height}px`;
    element.style.left = `${centred(view.left, view.width, size.width, view.devicePixelRatio)}px`;
    element.style.top = `${centred(view.top, view.height, size.height, view.devicePixelRatio)}px`;
    element.style.imageRendering = size.sharp ? 'pixelated' : 'auto';
    const factor = size.factor / view.devicePixelRatio;
    setPlace((known) =>
      known.left === element.offsetLeft && known.top === element.offsetTop && known.factor === factor
        ? known
        : { left: element.offsetLeft, top: element.offsetTop, factor },
    );
  }, [mode, guest, view]);

  const image = cursor?.image;
  const shown = cursor?.visible === true;
  useEffect(() => {
    const element = holder.current;
    if (element === null || pointer !== 'host' || image === undefined) {
      return;
    }
    element.style.cursor = cssCursor({ visible: shown, image }, place.factor);
    return () => {
      element.style.cursor = '';
    };
  }, [pointer, image, shown, place.factor]);

  const waiting = guest === undefined || guest.width === 0;
  return (
    <div ref={holder} className={`picture picture--${mode}`}>
      {waiting && <div className="picture__placeholder">{placeholder}</div>}
      {!waiting && pointer === 'drawn' && cursor?.visible === true && <DrawnCursor cursor={cursor} place={place} />}
    </div>
  );
}

interface DrawnCursorProps {
  readonly cursor: GuestCursor;
  readonly place: { readonly left: number; readonly top: number; readonly factor: number };
}

/** The guest's pointer over its picture. */
function DrawnCursor({ cursor: { x, y, image }, place }: DrawnCursorProps) {
  const holder = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const canvas = cursorCanvas(image);
    if (canvas !== undefined) {
      canvas.style.width = '100%';
      canvas.style.height = '100%';
      holder.current?.replaceChildren(canvas);
    }
  }, [image]);
  const { left, top, factor } = place;
  return (
    <div
      ref={holder}
      className="picture__cursor"
      aria-hidden="true"
      style={{
        left: left + x * factor,
        top: top + y * factor,
        width: image.width * factor,
        height: image.height * factor,
      }}
    />
  );
}

interface View extends Size {
  /** Where the view begins in the window, in CSS pixels. */
  readonly left: number;
  readonly top: number;
  readonly devicePixelRatio: number;
}

function useViewSize(holder: React.RefObject<HTMLElement | null>): View {
  const [view, setView] = useState<View>({ left: 0, top: 0, width: 1, height: 1, devicePixelRatio: 1 });
  useEffect(() => {
    const place = holder.current;
    if (place === null) {
      return;
    }
    const measure = () => {
      const { left, top } = place.getBoundingClientRect();
      const { clientWidth: width, clientHeight: height } = place;
      setView({ left, top, width, height, devicePixelRatio: window.devicePixelRatio });
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(place);
    // A window moved to another display changes its ratio with a resize event.
    window.addEventListener('resize', measure);
    return () => {
      observer.disconnect();
      window.removeEventListener('resize', measure);
    };
  }, [holder]);
  return view;
}

function usePageVisible(): boolean {
  const [visible, setVisible] = useState(document.visibilityState !== 'hidden');
  useEffect(() => {
    const update = () => setVisible(document.visibilityState !== 'hidden');
    document.addEventListener('visibilitychange', update);
    return () => document.removeEventListener('visibilitychange', update);
  }, []);
  return visible;
}
