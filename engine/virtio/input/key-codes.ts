/**
 * Keys by their physical names (W3C UI Events KeyboardEvent code values) and what Linux calls them
 * (linux/input-event-codes.h): the codes that the input device sends.
 */
export const KEY_CODES: ReadonlyMap<string, number> = new Map([
  ['Escape', 1],
  ...numbered(['Digit1', 'Digit2', 'Digit3', 'Digit4', 'Digit5', 'Digit6', 'Digit7', 'Digit8', 'Digit9', 'Digit0'], 2),
  ...numbered(['Minus', 'Equal', 'Backspace', 'Tab'], 12),
  ...numbered([...'QWERTYUIOP'].map(letter), 16),
  ...numbered(['BracketLeft', 'BracketRight', 'Enter', 'ControlLeft'], 26),
  ...numbered([...'ASDFGHJKL'].map(letter), 30),
  ...numbered(['Semicolon', 'Quote', 'Backquote', 'ShiftLeft', 'Backslash'], 39),
  ...numbered([...'ZXCVBNM'].map(letter), 44),
  ...numbered(['Comma', 'Period', 'Slash', 'ShiftRight', 'NumpadMultiply', 'AltLeft', 'Space', 'CapsLock'], 51),
  ...numbered(['F1', 'F2', 'F3', 'F4', 'F5', 'F6', 'F7', 'F8', 'F9', 'F10', 'NumLock', 'ScrollLock'], 59),
  ...numbered(['Numpad7', 'Numpad8', 'Numpad9', 'NumpadSubtract', 'Numpad4', 'Numpad5', 'Numpad6', 'NumpadAdd'], 71),
  ...numbered(['Numpad1', 'Numpad2', 'Numpad3', 'Numpad0', 'NumpadDecimal'], 79),
  ['Lang5', 85],
  ...numbered(['IntlBackslash', 'F11', 'F12', 'IntlRo', 'Lang3', 'Lang4', 'Convert', 'KanaMode', 'NonConvert'], 86),
  ...numbered(['NumpadEnter', 'ControlRight', 'NumpadDivide', 'PrintScreen', 'AltRight'], 96),
  ...numbered(['Home', 'ArrowUp', 'PageUp', 'ArrowLeft', 'ArrowRight', 'End', 'ArrowDown', 'PageDown'], 102),
  ...numbered(['Insert', 'Delete'], 110),
  ...numbered(['AudioVolumeMute', 'AudioVolumeDown', 'AudioVolumeUp', 'Power', 'NumpadEqual'], 113),
  ['Pause', 119],
  ...numbered(['NumpadComma', 'Lang1', 'Lang2', 'IntlYen', 'MetaLeft', 'MetaRight', 'ContextMenu'], 121),
  ['BrowserStop', 128],
  ['LaunchApp2', 140],
  ...numbered(['Sleep', 'WakeUp'], 142),
  ...numbered(['LaunchMail', 'BrowserFavorites', 'LaunchApp1', 'BrowserBack', 'BrowserForward'], 155),
  ...numbered(['MediaTrackNext', 'MediaPlayPause', 'MediaTrackPrevious', 'MediaStop'], 163),
  ...numbered(['BrowserHome', 'BrowserRefresh'], 172),
  ['BrowserSearch', 217],
  ['MediaSelect', 226],
]);

function numbered(names: readonly string[], first: number): [name: string, code: number][] {
  return names.map((name, index) => [name, first + index]);
}

function letter(name: string): string {
  return `Key${name}`;
}
