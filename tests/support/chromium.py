"""Headless Chromium for tests, controlled over its DevTools protocol.

The browser reads JSON messages from file descriptor 3 and writes them to file descriptor 4. Each
message ends with a zero byte (`--remote-debugging-pipe`). No port and no driver are needed.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

SECONDS = 60


def find():
    """Returns the path of the browser, or None."""
    return shutil.which('chromium') or shutil.which('chromium-browser')


class Chromium:
    """A browser with one page, which closes at the end of the `with` block.

    Attributes:
      problems: errors and warnings of the page's console, scripts and requests.
      requests: addresses that the page requested, without `data:` addresses.
    """

    def __init__(self):
        assert find(), 'expected Chromium, found none: tools/install_system_packages.sh'
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        reads, self._write = os.pipe()
        self._read, writes = os.pipe()
        command = [
            # The shell connects the pipes to the descriptors that the browser uses.
            *('bash', '-c', f'exec "$@" 3<&{reads} 4>&{writes}', 'bash', find()),
            *('--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'),
            *('--disable-background-networking', '--no-first-run', '--hide-scrollbars'),
            *(f'--user-data-dir={self._profile.name}', '--remote-debugging-pipe', 'about:blank'),
        ]
        self._process = subprocess.Popen(
            command,
            pass_fds=(reads, writes),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(reads)
        os.close(writes)
        self._number, self._session, self._bytes, self._events = 0, None, b'', []
        self.problems, self.requests = [], []

    def __enter__(self):
        targets = self.call('Target.getTargets')['targetInfos']
        [page] = [target['targetId'] for target in targets if target['type'] == 'page']
        attached = self.call('Target.attachToTarget', targetId=page, flatten=True)
        self._session = attached['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self.call(f'{domain}.enable')
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(SECONDS)
        os.close(self._read)
        os.close(self._write)
        self._profile.cleanup()

    def call(self, method, **parameters):
        """Sends a command to the browser and returns its answer."""
        self._number += 1
        message = {'id': self._number, 'method': method, 'params': parameters}
        if self._session:
            message['sessionId'] = self._session
        os.write(self._write, json.dumps(message).encode() + b'\0')
        while True:
            answer = self._receive()
            if answer.get('id') == self._number:
                assert 'error' not in answer, answer
                return answer['result']

    def open(self, address, *, width=1280, height=800, scheme='light', motion='no-preference'):
        """Loads a page and waits until it is complete.

        Args:
          address: URL of the page.
          width: width of the screen in CSS pixels.
          height: height of the screen in CSS pixels.
          scheme: preferred colour scheme, 'light' or 'dark'.
          motion: 'no-preference' or 'reduce'.
        """
        self.problems, self.requests, self._events = [], [], []
        self.call(
            'Emulation.setDeviceMetricsOverride',
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 700,
        )
        features = {'prefers-color-scheme': scheme, 'prefers-reduced-motion': motion}
        features = [{'name': name, 'value': value} for name, value in features.items()]
        self.call('Emulation.setEmulatedMedia', features=features)
        self.call('Page.navigate', url=address)
        while 'Page.loadEventFired' not in self._events:
            self._receive()
        self.evaluate('new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))')

    def evaluate(self, expression):
        """Returns the value of a JavaScript expression in the page."""
        answer = self.call(
            'Runtime.evaluate', expression=expression, returnByValue=True, awaitPromise=True
        )
        assert 'exceptionDetails' not in answer, answer
        return answer['result'].get('value')

    def screenshot(self, *, whole=False):
        """Returns a PNG of the screen, or of the whole page."""
        answer = self.call('Page.captureScreenshot', captureBeyondViewport=whole)
        return base64.b64decode(answer['data'])

    def _receive(self):
        until = time.monotonic() + SECONDS
        while b'\0' not in self._bytes:
            ready, _, _ = select.select([self._read], [], [], max(until - time.monotonic(), 0))
            assert ready, f'no message from the browser in {SECONDS} s'
            received = os.read(self._read, 2**20)
            assert received, f'the browser ended with status {self._process.wait(SECONDS)}'
            self._bytes += received
        message, _, self._bytes = self._bytes.partition(b'\0')
        message = json.loads(message)
        self._note(message.get('method'), message.get('params', {}))
        return message

    def _note(self, event, about):
        self._events.append(event)
        if event == 'Runtime.exceptionThrown':
            self.problems.append(about['exceptionDetails'])
        elif event == 'Runtime.consoleAPICalled' and about['type'] in (
            'error',
            'warning',
            'assert',
        ):
            self.problems.append(about)
        elif event == 'Log.entryAdded' and about['entry']['level'] in ('error', 'warning'):
            self.problems.append(about['entry'])
        elif event == 'Network.loadingFailed':
            self.problems.append(about)
        elif event == 'Network.requestWillBeSent':
            address = about['request']['url']
            if not address.startswith('data:'):
                self.requests.append(address)
