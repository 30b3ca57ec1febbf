// The head of a chapter: a question to guess first, and what is true once somebody has.
const $ = selector => element.querySelector(selector);
const [kicker, title, lead, guess, question, options, answer] = ['.kicker', 'h2', '.lead', '.guess', '.question', '.options', '.answer'].map($);
const about = {...props.value};
let guessed = null;

function show() {
  kicker.textContent = about.kicker;
  title.textContent = about.title;
  lead.textContent = about.lead;
  question.textContent = about.question;
  guess.hidden = !about.question;
  answer.textContent = '';
  if (!guessed) return;
  const first = document.createElement('b');
  first.textContent = `${about.right.charAt(0).toUpperCase()}${about.right.slice(1)}. `;
  answer.append(first, about.answer);
  options.querySelectorAll('button').forEach(button => {
    button.setAttribute('aria-pressed', String(button.textContent === guessed));
    button.classList.toggle('no', button.textContent !== about.right);
  });
}
options.append(...about.options.map(words => {
  const button = Object.assign(document.createElement('button'), {type: 'button', textContent: words});
  button.setAttribute('aria-pressed', 'false');
  button.addEventListener('click', () => {
    guessed = words;
    show();
    document.dispatchEvent(new CustomEvent('guessed', {detail: about.name}));
  });
  return button;
}));
// Where question and answer follow what is shown.
document.addEventListener('lesson', ({detail}) => { if (detail.name === about.name) { Object.assign(about, detail); show(); } });
Object.assign(about, window.lessons?.[about.name]);
show();
