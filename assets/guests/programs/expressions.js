// Run by Node inside a guest, whose V8 compiles the regular expressions and loops below while they run. What it prints
// depends on nothing but the language.
// biome-ignore lint/suspicious/noRedundantUseStrict: the guest runs this as a script, not as a module
'use strict';

let seed = 12345;
function random(below) {
  seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
  return (seed >>> 8) % below;
}

const syllables = ['ba', 'ke', 'lo', 'mi', 'nu', 'ra', 'si', 'to', 'Vy', 'we', 'xa', 'ze', 'ä', 'ß', 'λ', '😀'];
function word() {
  let text = '';
  for (let left = 1 + random(4); left > 0; left--) {
    text += syllables[random(syllables.length)];
  }
  return text;
}

const lines = [];
for (let i = 0; i < 6000; i++) {
  const stamp = `20${10 + random(20)}-${String(1 + random(12)).padStart(2, '0')}-${String(1 + random(28)).padStart(2, '0')}`;
  const address = `${random(300)}.${random(300)}.${random(256)}.${random(256)}`;
  lines.push(`${stamp} ${address} <${word()}@${word()}.${word()}> "${word()} ${word()}" ${word()}=${random(100000)};`);
}
const text = lines.join('\n');

const expressions = {
  dates: /\b(?<year>20[12]\d)-(?<month>0[1-9]|1[0-2])-(?<day>[0-2]\d|3[01])\b/g,
  addresses: /\b(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)\b/g,
  mail: /<([^@<>]+)@([^.<>]+)\.([^<>]+)>/gu,
  repeated: /(\w\w)\1/g,
  caseless: /\b[a-z]*(?:VY|we)[a-z]*\b/gi,
  behind: /(?<==)\d+(?=;$)/gm,
  without: /"(?!ba|ke)[^"]*"/g,
  backtracking: /(?:[a-z]+)+\d/g,
  alternatives: /bake|balo|bami|kero|lomi|minu|nura|rasi|sito|towe|xaze|zeba/g,
  unicode: /[\u{1F600}-\u{1F64F}ß-λ]+/gu,
};

const results = {};
for (let round = 0; round < 3; round++) {
  for (const [name, expression] of Object.entries(expressions)) {
    let count = 0;
    let sum = 0;
    for (const match of text.matchAll(expression)) {
      count++;
      sum = (Math.imul(sum, 31) + match.index + match[0].length) | 0;
    }
    results[name] = `${name} ${count} ${sum}`;
  }
}
for (const name of Object.keys(expressions)) {
  console.log(results[name]);
}

const upper = text.replace(/(\p{L})(\p{L}*)/gu, (_, first, rest) => first.toUpperCase() + rest.length);
console.log('replaced', upper.length);

// Loops that become machine code, and then see values of another type than before.
function weigh(values) {
  let total = 0;
  for (let i = 0; i < values.length; i++) {
    total += values[i] * (i & 7);
  }
  return total;
}
const whole = Array.from({ length: 1000 }, (_, i) => i % 17);
let weight = 0;
for (let i = 0; i < 2000; i++) {
  weight = (weight + weigh(whole)) | 0;
}
console.log('weight', weight, weigh(whole.map((value) => value + 0.25)), weigh(['1', '2', '3']));

const bytes = new Uint8Array(1 << 16).map((_, i) => (i * i) >> 3);
let hash = 0xcbf29ce484222325n;
let fast = 0x811c9dc5;
for (let i = 0; i < bytes.length; i++) {
  fast = Math.imul(fast ^ bytes[i], 0x01000193) >>> 0;
  if ((i & 15) === 0) {
    hash = ((hash ^ BigInt(bytes[i])) * 0x100000001b3n) & 0xffffffffffffffffn;
  }
}
console.log('hashes', fast.toString(16), hash.toString(16));
