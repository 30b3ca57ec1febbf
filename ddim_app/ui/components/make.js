// A new element at the end of another one; words are set as text, never as markup.
const make = (name, className, parent, words) => {
  const node = document.createElement(name);
  if (className) node.className = className;
  if (words !== undefined) node.textContent = words;
  parent.append(node);
  return node;
};
