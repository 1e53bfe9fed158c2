// The fields that narrow the list, beside what the server set in them.
export function isChanged(field) {
  return field.type === "checkbox" ? field.checked !== field.defaultChecked : field.value !== given(field);
}

export function putBack(field) {
  if (field.type === "checkbox") field.checked = field.defaultChecked;
  else if (field.matches("input, select")) field.value = given(field);
}

function given(field) {
  return field.matches("select") ? (field.querySelector("[selected]")?.value ?? "") : field.defaultValue;
}
