// Keeps phones and calls current: asks for the fragment every two seconds while the page is looked at.
const live = document.getElementById("live");
async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await fetch(live.dataset.from, { headers: { accept: "text/html" } });
    if (answer.ok && !answer.redirected) live.innerHTML = await answer.text();
  } catch { /* the next one may get through */ }
}
setInterval(refresh, 2000);
