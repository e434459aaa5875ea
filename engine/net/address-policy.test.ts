import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defined } from '../base/assert.ts';
import { formatAddress, inPrefix, parseAddress, unmapped } from './address.ts';
import { AddressPolicy } from './address-policy.ts';
import { FakeSockets } from './testing/fake-sockets.ts';

const address = (text: string) => defined(parseAddress(text), text);

test('addresses are read and written', () => {
  for (const [text, written] of [
    ['10.0.2.15', '10.0.2.15'],
    ['::', '::'],
    ['::1', '::1'],
    ['fd00:10:0:2::3', 'fd00:10:0:2::3'],
    ['FE80::1%eth0', 'fe80::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['::ffff:127.0.0.1', '::ffff:7f00:1'],
    ['1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7:8'],
  ] as const) {
    assert.equal(formatAddress(address(text)), written);
  }
  for (const text of [
    '',
    '1.2.3',
    '1.2.3.256',
    ':::',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    'g::',
    '1.2.3.4::',
  ]) {
    assert.equal(parseAddress(text), undefined, text);
  }
  assert.equal(formatAddress(unmapped(address('::ffff:1.2.3.4'))), '1.2.3.4');
  assert.equal(inPrefix(address('10.0.3.1'), address('10.0.2.0'), 23), true);
  assert.equal(inPrefix(address('10.0.4.1'), address('10.0.2.0'), 23), false);
});

test('nothing that is local to the host can be reached, by whatever name', () => {
  const sockets = new FakeSockets();
  sockets.loopback.add('172.31.255.1').add('fd77::1');
  for (const hostLoopback of [false, true]) {
    const policy = new AddressPolicy({ hostLoopback, isolated: false }, sockets);
    for (const text of [
      '127.0.0.1',
      '127.255.255.254',
      '0.0.0.0',
      '0.1.2.3',
      '10.0.2.3',
      '10.0.2.15',
      '10.0.2.255',
      '224.0.0.1',
      '255.255.255.255',
      '172.31.255.1',
      '::',
      '::1',
      '::127.0.0.1',
      '::ffff:127.0.0.1',
      '::ffff:8.8.8.8',
      '64:ff9b::127.0.0.1',
      '2002:7f00:1::1',
      'fe80::1234',
      'ff02::1',
      'fd77::1',
      'fd00:10:0:2::55',
    ]) {
      assert.equal(policy.outside(address(text)), undefined, text);
    }
    for (const text of ['8.8.8.8', '192.168.1.1', '10.0.3.2', '2001:db8::1', '64:ff9b::808:808']) {
      assert.equal(policy.outside(address(text)), text);
    }
    assert.equal(policy.outside(address('10.0.2.2')), hostLoopback ? '127.0.0.1' : undefined);
    assert.equal(policy.outside(address('fd00:10:0:2::2')), hostLoopback ? '::1' : undefined);
  }
});

test('isolated guests reach nothing, not even loopback', () => {
  const policy = new AddressPolicy({ hostLoopback: true, isolated: true }, new FakeSockets());
  assert.equal(policy.outside(address('8.8.8.8')), undefined);
  assert.equal(policy.outside(address('10.0.2.2')), undefined);
});

test('peers of the host appear with their own address where the guest can answer it', () => {
  const policy = new AddressPolicy({ hostLoopback: false, isolated: false }, new FakeSockets());
  const inside = (text: string) => formatAddress(policy.inside(address(text)));
  assert.equal(inside('192.168.1.7'), '192.168.1.7');
  assert.equal(inside('::ffff:192.168.1.7'), '192.168.1.7');
  assert.equal(inside('127.0.0.1'), '10.0.2.2');
  assert.equal(inside('::1'), '10.0.2.2');
  assert.equal(inside('10.0.2.15'), '10.0.2.2');
});
