'use strict';

// A click on a column's button sorts by it, a second click the other way round.
for (const table of document.querySelectorAll('table[data-sortable]')) {
  const headers = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  headers.forEach((header, column) => {
    header.querySelector('button').addEventListener('click', () => {
      const numeric = header.classList.contains('number');
      const before = header.getAttribute('aria-sort');
      const ascending = before ? before !== 'ascending' : true;
      const key = (row) => {
        const cell = row.cells[column];
        return numeric ? Number(cell.dataset.value) : cell.textContent;
      };
      const compare = numeric ? (a, b) => a - b : (a, b) => a.localeCompare(b, 'en');
      const keyed = [...body.rows].map((row) => [key(row), row]);
      keyed.sort((a, b) => (ascending ? 1 : -1) * compare(a[0], b[0]));
      body.append(...keyed.map(([, row]) => row));
      headers.forEach((other) => other.removeAttribute('aria-sort'));
      header.setAttribute('aria-sort', ascending ? 'ascending' : 'descending');
    });
  });
}

// What is typed into the field hides the classes that do not contain it.
const field = document.querySelector('input[type=search]');
if (field) {
  const rows = document.getElementById(field.getAttribute('aria-controls')).tBodies[0].rows;
  field.addEventListener('input', () => {
    const wanted = field.value.toLowerCase();
    for (const row of rows) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
    }
  });
}
