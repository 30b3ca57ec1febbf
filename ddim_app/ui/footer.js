const words = element.querySelector('span');
const show = () => { words.textContent = props.value.words; words.title = props.value.reason; };
element.querySelector('button').addEventListener('click', () => document.body.classList.toggle('dark'));
watch('value', show);
show();
