// What Gradio does not do for the whole page. Runs once, when the page has been built.
() => {
  // A picture dropped anywhere goes to the box that restores it; boxes that take files keep theirs. Without this the
  // browser would leave the page and show the picture.
  const files = event => [...(event.dataTransfer?.types || [])].includes('Files');
  const taken = event => event.target.closest?.('[id^=photo], #restore')?.querySelector('input[type=file]');
  document.addEventListener('dragover', event => { if (files(event)) event.preventDefault(); });
  document.addEventListener('drop', event => {
    if (!files(event)) return;
    event.preventDefault();
    const picture = [...event.dataTransfer.files].find(file => file.type === 'image/png');
    const input = document.querySelector('#restore input[type=file]');
    if (taken(event) || !picture || !input) return;
    const handed = new DataTransfer();
    handed.items.add(picture);
    input.files = handed.files;
    input.dispatchEvent(new Event('change', {bubbles: true}));
    document.querySelector('#note-restore')?.scrollIntoView({block: 'center'});
  });
  // Screen readers tell whose photo a button means; the slots are drawn anew when they come and go.
  const name = () => document.querySelectorAll('[id^=object]:not([role])').forEach(slot => {
    slot.setAttribute('role', 'group');
    slot.setAttribute('aria-label', `Object ${+slot.id.slice('object'.length) + 1}`);
  });
  new MutationObserver(name).observe(document.body, {childList: true, subtree: true});
  name();
}
