// What Gradio does not do for the whole page. Runs once, when the page has been built.
() => {
  // A picture dropped anywhere goes to the box that restores it; boxes that take files keep theirs. Without this the
  // browser would leave the page and show the picture.
  const hand = (file, input) => {
    const handed = new DataTransfer();
    handed.items.add(file);
    input.files = handed.files;
    input.dispatchEvent(new Event('change', {bubbles: true}));
  };
  const files = event => [...(event.dataTransfer?.types || [])].includes('Files');
  const taken = event => event.target.closest?.('[id^=photo], #restore')?.querySelector('input[type=file]');
  document.addEventListener('dragover', event => { if (files(event)) event.preventDefault(); });
  document.addEventListener('drop', event => {
    if (!files(event)) return;
    event.preventDefault();
    const picture = [...event.dataTransfer.files].find(file => file.type === 'image/png');
    const input = document.querySelector('#restore input[type=file]');
    if (taken(event) || !picture || !input) return;
    hand(picture, input);
    document.querySelector('#note-restore')?.scrollIntoView({block: 'center'});
  });
  // A pasted picture is the photo of the slot at hand, else of the first slot without one.
  document.addEventListener('paste', event => {
    const picture = [...event.clipboardData.files].find(file => file.type.startsWith('image/'));
    if (!picture) return;
    const empty = place => place?.querySelector('[id^=photo] input[type=file]');
    const input = empty(document.activeElement.closest('[id^=object]')) || empty(document);
    if (!input) return;
    event.preventDefault();
    hand(picture, input);
  });
  // Screen readers tell whose photo a button means; the slots are drawn anew when they come and go.
  const name = () => document.querySelectorAll('[id^=object]:not([role])').forEach(slot => {
    slot.setAttribute('role', 'group');
    slot.setAttribute('aria-label', `Object ${+slot.id.slice('object'.length) + 1}`);
  });
  new MutationObserver(name).observe(document.body, {childList: true, subtree: true});
  name();
}
